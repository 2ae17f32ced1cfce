"""Accumulator stages in place of their operands: what may share a place, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from compiler import te
from compiler.ir import maximum
from hw.config import Config
from vdla.kernel import Kernel, build
from vdla.target import intrinsics
from vdla.target.errors import LoweringError

CFG = Config.load("tiny")
SHAPE = (6, CFG.batch, CFG.block_out)

Step = tuple[te.Tensor, te.TensorIntrin]


def kernel(steps: Callable[[te.Tensor], list[Step]]) -> Kernel:
    """int8 -> int8 through accumulator stages; ``steps`` makes them from the operand in the auxiliary buffer."""
    x = te.placeholder(SHAPE, "int8", "x")
    chip = te.compute(SHAPE, lambda *i: x[i], "chip")
    made = steps(chip)
    last = made[-1][0]
    result = te.compute(SHAPE, lambda *i: intrinsics.saturate_expr(last[i]), "result")
    out = te.compute(SHAPE, lambda *i: result[i], "out")
    s = te.create_schedule(out)
    for tensor, intrin in [*made, (result, intrinsics.saturate(CFG))]:
        s[tensor].set_scope("out" if tensor is result else "acc")
        s[tensor].tensorize(tensor.op.axis[1], intrin)
    s[chip].set_scope("aux")
    for tensor in (chip, out):
        s[tensor].pragma(tensor.op.axis[0], "dma_copy")
    return build(s, [x, out], CFG)


def wide(chip: te.Tensor, name: str) -> Step:
    return te.compute(SHAPE, lambda *i: chip[i].astype("int32"), name), intrinsics.widen(CFG)


def times(x: te.Tensor, value: int, name: str) -> Step:
    return te.compute(SHAPE, lambda *i: x[i] * value, name), intrinsics.immediate(CFG, "MUL", value)


def shifted(x: te.Tensor, name: str) -> Step:
    return te.compute(SHAPE, lambda *i: x[i] >> 3, name), intrinsics.immediate(CFG, "SHR", 3)


def larger(a: te.Tensor, b: te.Tensor, name: str) -> Step:
    tensor = te.compute(SHAPE, lambda *i: maximum(a[i], b[i].astype("int32")), name)
    return tensor, intrinsics.elementwise(CFG, "MAX", "int32")


def data() -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, SHAPE, np.int8)


def test_operand_read_after_it_was_overwritten() -> None:
    def leaky(chip: te.Tensor) -> list[Step]:
        steps = [wide(chip, "w")]
        steps += [times(steps[0][0], 3, "m")]
        steps += [shifted(steps[1][0], "q")]
        return [*steps, larger(steps[0][0], steps[2][0], "r")]

    with pytest.raises(LoweringError, match="r reads w, which m has overwritten; compute it twice"):
        kernel(leaky)


def test_operand_computed_twice() -> None:
    def leaky(chip: te.Tensor) -> list[Step]:
        keep, w = wide(chip, "keep"), wide(chip, "w")
        m = times(w[0], 3, "m")
        q = shifted(m[0], "q")
        return [keep, w, m, q, larger(keep[0], q[0], "r")]

    x = data()
    expected = np.maximum(x.astype(int), x.astype(int) * 3 >> 3)
    np.testing.assert_array_equal(kernel(leaky).run(x).outputs[0], expected)


def test_an_operation_on_one_value_twice() -> None:
    def doubled(chip: te.Tensor) -> list[Step]:
        w = wide(chip, "w")[0]
        tensor = te.compute(SHAPE, lambda *i: w[i] + w[i].astype("int32"), "d")
        return [(w, intrinsics.widen(CFG)), (tensor, intrinsics.elementwise(CFG, "ADD", "int32"))]

    x = data() // 2
    np.testing.assert_array_equal(kernel(doubled).run(x).outputs[0], 2 * x.astype(int))
