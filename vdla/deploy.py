"""Networks as shared libraries with a C interface: no Python, no artifact, nothing but libc at run time."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.version import KIT_VERSION
from vdla.errors import UsageError

if TYPE_CHECKING:
    import onnx

    from runtime.executor import Progress

SUFFIXES = (".so", ".o")
"""Of what `deploy` writes."""


@dataclass(frozen=True)
class Deployed:
    """What was written, and how large and long it was.

    workspace_bytes: that an instance needs while it runs. constant_bytes: weights in the library. wall_s: seconds of
    compilation; passes: (name, seconds) of its parts. tuning: what was taken from
    a tuning database, if one was given (see `vdla.tune.kernels.tuning_info`).
    """

    path: Path
    header: Path
    platform: str
    kernels: int
    calls: int
    workspace_bytes: int
    constant_bytes: int
    file_bytes: int
    wall_s: float
    passes: tuple[tuple[str, float], ...]
    tuning: Mapping[str, object] = field(default_factory=dict)


def deploy(
    model: str | Path | onnx.ModelProto,
    output: str | Path,
    *,
    platform: str = "cpu",
    prefix: str = "vdla",
    batch: int | None = None,
    integer: bool = False,
    calibration: Iterable[Mapping[str, np.ndarray]] | None = None,
    database: str | Path | None = None,
    progress: Progress | None = None,
) -> Deployed:
    """Compiles a network to a shared library, or to an object to be linked into a program, and a header beside it.

    Args:
        model: as for `vdla.compile`.
        output: ``name.so`` or ``name.o``; the header becomes ``name.h``.
        platform: "cpu" for this computer, "arm64" or "armv7", perhaps with a processor ("arm64:cortex-a72"); see
            `compiler.backend.cpu.platforms`.
        prefix: what the names of the C functions start with.
        batch, calibration: as for `vdla.compile`.
        integer: make the network int8 (a QDQ model as it is, a float model after calibration).
        database: a tuning database (`vdla tune --target PLATFORM` fills it) whose confirmed schedules are used.
        progress: told ``(what, done, total)``.

    Raises:
        CompileError: the model cannot be compiled; LinkError where the platform's linker is missing.
        UsageError: for another suffix, or a place that cannot be written. DatabaseError: for a wrong database.
    """
    # The compiler takes long to import; the command line needs it only now.
    from compiler.backend.aot import Program, build, link
    from compiler.backend.cpu.platforms import platform_of
    from compiler.graph.pipeline import Calibration
    from runtime.shared_library import TRAILER_MAGIC
    from runtime.thread_pool import pool_ir
    from vdla.driver import Clock, CompileOptions, cpu_target, lower_graph
    from vdla.resolve import builtin_calibration, check_calibration, model_source
    from vdla.tune.kernels import TunedKernels, tuning_info
    from vdla.tune.lookup import open_database

    started = time.perf_counter()
    output = Path(output)
    if output.suffix not in SUFFIXES:
        raise UsageError(f"{output}: a network is deployed as a shared library (.so) or an object (.o)")
    kind = platform_of(platform)
    _check_place(output)
    source = model_source(str(model), batch) if isinstance(model, str | Path) else model
    check_calibration(calibration, [platform], integer)
    if calibration is None and isinstance(model, str):
        calibration = builtin_calibration(model)
    options = CompileOptions(batch=batch or 1, calibration=Calibration(samples=calibration), integer=integer)
    tuned = None if database is None else TunedKernels(open_database(database))
    target = cpu_target(kind, tuned, tiles=False)  # a program that loads it has not asked for the tile registers
    clock = Clock(progress, 7)
    name, graph, groups = lower_graph(source, [target], options, clock)
    with clock.step("schedule"):
        kernels = [target.compile(group) for group in groups]
    with clock.step("memory plan"):
        program = Program.of(name, graph, groups, kernels)
    with clock.step("code"):
        built = build(program, kind, pool_ir(kind.llvm_triple), kit_version=KIT_VERSION, prefix=prefix)
    header = output.with_suffix(".h")
    with clock.step("link"), tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        made = Path(folder) / output.name
        with made.with_suffix(".o").open("wb") as stream:
            stream.writelines(built.image)
        if output.suffix != ".o":
            link([made.with_suffix(".o")], made, kind)
            with made.open("r+b") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
                stream.write(TRAILER_MAGIC + digest)
            made.chmod(0o755)
        made.with_suffix(".h").write_text(built.header)
        os.replace(made.with_suffix(".h"), header)
        os.replace(made, output)
    return Deployed(
        path=output,
        header=header,
        platform=platform,
        kernels=len({kernel.symbol for kernel in kernels}),
        calls=len(kernels),
        workspace_bytes=program.workspace_bytes,
        constant_bytes=program.constant_bytes,
        file_bytes=output.stat().st_size,
        wall_s=time.perf_counter() - started,
        passes=tuple(clock.times),
        tuning={} if tuned is None else tuning_info(tuned),
    )


def _check_place(output: Path) -> None:
    """UsageError where a library and its header cannot be written, before the work."""
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: {output.parent} is not a folder")
    for path in (output, output.with_suffix(".h")):
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder")
    try:
        tempfile.TemporaryDirectory(dir=output.parent).cleanup()
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
