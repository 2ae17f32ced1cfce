"""This kit, ONNX Runtime and OpenVINO on one model and input, each alone in a process, so that medians can be compared.

TVM, untuned, can be a fourth. Alone, since a library's threads wait for work in loops for a while after a run, on the
processors that the next one needs. ``python -m benchmarks.side_by_side`` is such a process; `compare` starts them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import onnx
import onnxruntime
import openvino  # pyright: ignore[reportMissingImports]  # the extra "bench" has it

from hw.config import Config
from runtime.executor import Executor
from vdla.driver import compile_model

Run = Callable[[], np.ndarray]
Agreement = Callable[[np.ndarray, np.ndarray], str | None]
"""(output, reference) -> None, or how they differ."""

#: of the columns that `compare` fills
COLUMNS = ("ours, ms", "ONNX Runtime, ms", "OpenVINO, ms", "ours / faster")
_WARM_UP = 5
_TVM_RUNS = 3  # untuned, it takes seconds for a network


def image(model: onnx.ModelProto) -> np.ndarray:
    """A seeded input for a model that has one: standard normal, or words of a small vocabulary."""
    kind = model.graph.input[0].type.tensor_type
    shape, rng = [d.dim_value for d in kind.shape.dim], np.random.default_rng(0)
    if kind.elem_type == onnx.TensorProto.INT64:
        return rng.integers(0, 1000, shape)
    return rng.standard_normal(shape, dtype=np.float32)


def ours(executor: Executor, x: np.ndarray, threads: int) -> Run:
    """This kit."""

    def run() -> np.ndarray:
        executor.use_threads(threads)  # executors share the pool
        return next(iter(executor.run(x).outputs.values()))

    return run


def onnx_runtime(model: onnx.ModelProto, x: np.ndarray, threads: int) -> Run:
    """ONNX Runtime's CPU provider."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: np.asarray(session.run(None, {name: x})[0])


def open_vino(model: onnx.ModelProto, x: np.ndarray, threads: int, precision: str | None = None) -> Run:
    """OpenVINO's CPU plug-in, latency hint; precision: "f32" forbids the types that it would choose by itself."""
    core = openvino.Core()
    settings: dict[str, object] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer([x])[compiled.output(0)]


def tvm_untuned(model: onnx.ModelProto, x: np.ndarray) -> Run:
    """TVM's default pipeline for this processor, no tuning; SystemExit for a model that it cannot import."""
    import tvm  # pyright: ignore[reportMissingImports]  # the extra "bench" has it, as an option
    from tvm import relax  # pyright: ignore[reportMissingImports]
    from tvm.relax.frontend.onnx import from_onnx  # pyright: ignore[reportMissingImports]

    target = tvm.target.Target({"kind": "llvm", "mcpu": llvm.get_host_cpu_name()})
    try:
        module = from_onnx(model)  # pyright: ignore[reportArgumentType]  # annotated narrower than documented
    except tvm.error.OpNotImplemented as error:
        raise SystemExit(f"TVM cannot import it: {error}") from None
    with target:
        compiled = tvm.compile(module, target=target)
    machine = relax.VirtualMachine(compiled, [tvm.cpu()])  # pyright: ignore[reportArgumentType]
    argument = tvm.runtime.tensor(x)

    def run() -> np.ndarray:
        result = machine["main"](argument)
        return (result if hasattr(result, "numpy") else result[0]).numpy()

    return run


def close(output: np.ndarray, reference: np.ndarray) -> str | None:
    """Float networks: outputs agree to 1e-4 of the largest magnitude."""
    error = np.abs(output - reference).max() / np.abs(reference).max()
    return None if error <= 1e-4 else f"relative error {error:.2g}"


def same_direction(least: float = 0.999) -> Agreement:
    """Int8 networks, in which a few values round one way or the other: outputs have this cosine at least."""

    def agreement(output: np.ndarray, reference: np.ndarray) -> str | None:
        a, b = output.ravel(), reference.ravel()
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        return None if cosine >= least else f"cosine {cosine:.4f}"

    return agreement


def median(run: Run, count: int) -> float:
    """Median seconds of `count` runs, after some to warm up."""
    seconds: list[float] = []
    for turn in range(_WARM_UP + count):
        start = time.perf_counter()
        run()
        if turn >= _WARM_UP:
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def tvm_seconds(model: onnx.ModelProto) -> float | None:
    """Median seconds of TVM, untuned; None when it cannot import the model."""
    with tempfile.TemporaryDirectory() as name:
        path, result = Path(name, "model.onnx"), Path(name, "y.npy")
        onnx.save(model, str(path))
        try:
            return _alone("tvm", path, result, [f"--runs={_TVM_RUNS}"])
        except subprocess.CalledProcessError:
            return None


def _alone(who: str, path: Path, result: Path, options: Sequence[str]) -> float:
    command = [sys.executable, "-m", "benchmarks.side_by_side", who, str(path), str(result), *options]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1])


def check(outputs: Sequence[tuple[str, np.ndarray]], agreement: Agreement) -> None:
    """SystemExit where an output differs from the last one."""
    for name, output in outputs:
        difference = agreement(output, outputs[-1][1])
        if difference is not None:
            raise SystemExit(f"{name} is wrong: {difference}")


def compare(
    model: onnx.ModelProto, threads: int, count: int, agreement: Agreement, precision: str | None = None
) -> list[str]:
    """The cells under `COLUMNS`; ONNX Runtime's output is the reference, `precision` is OpenVINO's."""
    seconds: dict[str, float] = {}
    outputs: list[tuple[str, np.ndarray]] = []
    with tempfile.TemporaryDirectory() as name:
        path, result = Path(name, "model.onnx"), Path(name, "y.npy")
        onnx.save(model, str(path))
        for who in ("ours", "openvino", "onnxruntime"):
            options = [f"--threads={threads}", f"--runs={count}"]
            options += [f"--precision={precision}"] if precision is not None else []
            seconds[who] = _alone(who, path, result, options)
            outputs.append((who, np.load(result)))
    check(outputs, agreement)
    mine = seconds["ours"]
    cells = [f"{1e3 * seconds[who]:.3f}" for who in ("ours", "onnxruntime", "openvino")]
    return [*cells, f"{mine / min(seconds['onnxruntime'], seconds['openvino']):.2f}"]


def versions() -> str:
    """Of what is measured beside the kit."""
    return f"ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}."


def main() -> None:
    """One of them: prints its median seconds and saves its output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("who", choices=("ours", "onnxruntime", "openvino", "tvm"))
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--precision", help="OpenVINO's")
    arguments = parser.parse_args()
    model: onnx.ModelProto = onnx.load(str(arguments.model))
    x = image(model)
    if arguments.who == "ours":
        run = ours(Executor(compile_model(model, Config.load("pynq-z1"), ["cpu"]).artifact), x, arguments.threads)
    elif arguments.who == "openvino":
        run = open_vino(model, x, arguments.threads, arguments.precision)
    elif arguments.who == "tvm":
        run = tvm_untuned(model, x)
    else:
        run = onnx_runtime(model, x, arguments.threads)
    np.save(arguments.output, run())
    print(median(run, arguments.runs))


if __name__ == "__main__":
    main()
