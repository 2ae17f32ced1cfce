"""Single float operators on this processor, against ONNX Runtime and OpenVINO.

    python -m benchmarks.cpu_operators [--operators Softmax,...] [--runs N] [--write]

Those that no template is for: general rules schedule them. Each is a network of its own at two sizes, each library
alone in a process, on the same input, the median counts; a run's overhead (copying the output, say) is in it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.common import publish, table
from benchmarks.side_by_side import COLUMNS, close, compare, versions

_THREADS = (1, 2)


@dataclass(frozen=True)
class Operator:
    """One of ONNX's operators on x of some shapes.

    constants: of a shape of x, the inputs behind x, by name. output: shape of y for a shape of x.
    """

    op: str
    shapes: tuple[tuple[int, ...], ...]
    output: Callable[[tuple[int, ...]], tuple[int, ...]] = lambda shape: shape
    constants: Callable[[tuple[int, ...]], Mapping[str, np.ndarray]] = lambda shape: {}
    attributes: Mapping[str, object] = field(default_factory=dict)

    def model(self, shape: tuple[int, ...]) -> onnx.ModelProto:
        """A network of this operator alone."""
        constants = self.constants(shape)
        node = helper.make_node(self.op, ["x", *constants], ["y"])
        node.attribute.extend(helper.make_attribute(name, value) for name, value in self.attributes.items())
        x, y = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, extents)
            for name, extents in (("x", shape), ("y", self.output(shape)))
        )
        tensors = [numpy_helper.from_array(array, name) for name, array in constants.items() if name]
        graph = helper.make_graph([node], self.op, [x], [y], tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _same(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"b": np.random.default_rng(1).standard_normal(shape, dtype=np.float32)}


def _scale_and_bias(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    scale, bias = np.random.default_rng(1).standard_normal((2, shape[-1]), dtype=np.float32)
    return {"scale": scale, "bias": bias}


def _twice(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:2], 2 * shape[2], 2 * shape[3])


def _scales(_: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}


_ROWS = ((64, 1000), (1024, 1000))
_IMAGES = ((1, 64, 32, 32), (1, 256, 64, 64))
_SMALLER = ((1, 64, 16, 16), (1, 64, 64, 64))
OPERATORS: Mapping[str, Operator] = {
    "Softmax": Operator("Softmax", _ROWS),
    "LayerNormalization": Operator("LayerNormalization", _ROWS, constants=_scale_and_bias),
    "Erf": Operator("Erf", _ROWS),
    "Add": Operator("Add", _ROWS, constants=_same),
    "Concat": Operator("Concat", _IMAGES, lambda s: (s[0], 2 * s[1], *s[2:]), constants=_same, attributes={"axis": 1}),
    "Transpose to NHWC": Operator(
        "Transpose", _IMAGES, lambda s: (s[0], *s[2:], s[1]), attributes={"perm": [0, 2, 3, 1]}
    ),
    "ReduceMean of rows": Operator("ReduceMean", _ROWS, lambda s: (s[0], 1), attributes={"axes": [1]}),
    "ReduceMean of columns": Operator("ReduceMean", _ROWS, lambda s: (1, s[1]), attributes={"axes": [0]}),
    "Resize, nearest": Operator(
        "Resize",
        _SMALLER,
        _twice,
        _scales,
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    "Resize, linear": Operator("Resize", _SMALLER, _twice, _scales, {"mode": "linear"}),
}


def _report(names: Sequence[str], count: int) -> str:
    rows = [
        (name, "x".join(map(str, shape)), threads, *compare(OPERATORS[name].model(shape), threads, count, close, "f32"))
        for name in names
        for shape in OPERATORS[name].shapes
        for threads in _THREADS
    ]
    return f"Float32, medians of {count} runs. {versions()}\n\n" + table(("operator", "x", "threads", *COLUMNS), rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operators", help=f"of these, semicolons between: {'; '.join(OPERATORS)}")
    parser.add_argument("--runs", type=int, default=200, help="runs of each")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    arguments = parser.parse_args()
    os.environ.pop("OPENBLAS_CORETYPE", None)
    names = list(OPERATORS)
    if arguments.operators is not None:
        names = [name.strip() for name in arguments.operators.split(";")]
        unknown = [name for name in names if name not in OPERATORS]
        if unknown:
            parser.error(f"no operator {', '.join(map(repr, unknown))}; there are {'; '.join(OPERATORS)}")
    publish("Single operators on the CPU", _report(names, arguments.runs), write=arguments.write)


if __name__ == "__main__":
    main()
