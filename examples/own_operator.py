"""An operator that the kit does not have, on VDLA: the hard-swish activation of MobileNetV3.

    python examples/own_operator.py

    hard_swish(x) = x * min(max(x + 3, 0), 6) / 6

What it takes: the integer computation as tensor expressions, a schedule, and, because the kit declares no intrinsic for
one of its steps, an intrinsic declared here. There is no emitter to write: the operator takes the road of every layer
of a network. The same expressions also run on this computer through LLVM, under a schedule for CPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

import vdla
from compiler import te
from compiler.ir import Call, Evaluate, Expr, IntImm, Stmt, maximum, minimum
from compiler.ops.quantization import quantize_multiplier
from vdla import host
from vdla.target import intrinsics

GATE_SHIFT = 6  # the gate has 6 bits more resolution than the input


@dataclass(frozen=True)
class HardSwish:
    """The integer arithmetic: x = scale_in * q in, y = scale_out * q out, both int8 with zero point 0.

    With one = 1 / (scale_in / 2**GATE_SHIFT), the gate min(max(x + 3, 0), 6) is clip(q * 2**GATE_SHIFT + 3 * one, 0,
    6 * one) in units of scale_in / 2**GATE_SHIFT; gate * q is then rescaled to scale_out by the machine's REQUANT.
    """

    scale_in: float
    scale_out: float

    @property
    def three(self) -> int:
        """The number 3 in units of the gate; ALU immediates have 18 bits."""
        return round(3 / self.scale_in * 2**GATE_SHIFT)

    @property
    def word(self) -> int:
        """Multiplier and shift as the machine's parameter word."""
        mult, shift = quantize_multiplier(self.scale_in**2 / 2**GATE_SHIFT / 6 / self.scale_out)
        return mult | shift << 18


@cache
def scaled_load(cfg: vdla.Config, factor: int) -> te.TensorIntrin:
    """An intrinsic of our own: ``acc = aux * factor``, int8 into an accumulator, in one operation.

    The machine's MULADD computes ``(acc << shift) + y * factor``. Its micro-ops can ask for the accumulator to be taken
    as 0, whatever it holds: that is the argument `first`. The first half says what the operation computes, and is
    compared with the loops it replaces; `lower` makes the call that becomes the instruction.
    """
    y = te.placeholder((cfg.batch, cfg.block_out), "int8", "y")
    out = te.compute((cfg.batch, cfg.block_out), lambda b, o: y[b, o].astype("int32") * factor, "scaled_load")

    def lower(ctx: te.TensorizeContext) -> Stmt:
        (source,) = ctx.inputs
        acc = ctx.output.address
        first, shift, to_out = IntImm(1, "bool"), IntImm(0, "int32"), IntImm(0, "int32")
        return Evaluate(
            Call("vdla.alu", ["MULADD", acc, acc, source.address, first, IntImm(factor, "int32"), shift, to_out])
        )

    return te.decl_tensor_intrin(out, "scaled_load", lower)


@dataclass(frozen=True)
class Expressions:
    """The computation: `steps` from the input's copy on the chip to the 8-bit result, and the copy back to DRAM."""

    x: te.Tensor
    params: te.Tensor
    x_chip: te.Tensor
    steps: tuple[te.Tensor, ...]
    out: te.Tensor

    @property
    def args(self) -> list[te.Tensor]:
        """Arguments of the kernel, in order."""
        return [self.x, self.params, self.out]


def hard_swish(shape: tuple[int, ...], op: HardSwish) -> Expressions:
    """Declare hard-swish on a packed activation int8[n, channels / 16, h, w, batch, 16]."""
    x = te.placeholder(shape, "int8", "x")
    params = te.placeholder((1, shape[-1], 2), "int32", "params")
    x_chip = te.compute(shape, lambda *i: x[i], "x_chip")
    wide = te.compute(shape, lambda *i: x_chip[i].astype("int32") * 2**GATE_SHIFT, "wide")
    shifted = te.compute(shape, lambda *i: wide[i] + op.three, "shifted")
    positive = te.compute(shape, lambda *i: maximum(shifted[i], 0), "positive")
    gate = te.compute(shape, lambda *i: minimum(positive[i], 2 * op.three), "gate")
    gated = te.compute(shape, lambda *i: gate[i] * x_chip[i].astype("int32"), "gated")

    def rescale(*i: Expr) -> Expr:
        return intrinsics.requantize_expr(gated[i], params[0, i[5], 0], params[0, i[5], 1], 0, -128, 127, "int8")

    result = te.compute(shape, rescale, "result")
    out = te.compute(shape, lambda *i: result[i], "out")
    return Expressions(x, params, x_chip, (wide, shifted, positive, gate, gated, result), out)


def schedule_for_vdla(e: Expressions, op: HardSwish, cfg: vdla.Config, rows: int, threads: int) -> te.Schedule:
    """`rows` rows of the image at a time, `threads` of them in flight; every step is one vector operation."""
    s = te.create_schedule(e.out)
    operations = (
        scaled_load(cfg, 2**GATE_SHIFT),
        intrinsics.immediate(cfg, "ADD", op.three),
        intrinsics.immediate(cfg, "MAX", 0),
        intrinsics.immediate(cfg, "MIN", 2 * op.three),
        intrinsics.elementwise(cfg, "MUL", "int8"),
        intrinsics.requantize(cfg, 0, -128, 127, "int8"),
    )
    n, c, y, x, b, o = e.out.op.axis
    outer, inner = s[e.out].split(y, factor=rows)
    at = outer
    if threads > 1:
        outer, at = s[e.out].split(outer, factor=threads)
        s[e.out].bind(at, te.thread_axis("vthread"))
    s[e.out].pragma(inner, "dma_copy")
    for tensor, operation in zip(e.steps, operations, strict=True):
        s[tensor].set_scope("acc")  # each step overwrites the accumulators of the one before
        s[tensor].compute_at(s[e.out], at)
        s[tensor].tensorize(tensor.op.axis[4], operation)
    s[e.steps[-1]].set_scope("out")
    s[e.x_chip].set_scope("aux")
    s[e.x_chip].compute_at(s[e.out], at)
    s[e.x_chip].pragma(e.x_chip.op.axis[0], "dma_copy")
    params = s.cache_read(e.params, "aux", [e.steps[-1]])
    s[params].pragma(s[params].op.axis[0], "dma_copy")  # at the root: loaded once
    return s


def schedule_for_cpu(e: Expressions) -> te.Schedule:
    """The same expressions for a CPU: everything in one loop nest, the lanes as a vector."""
    s = te.create_schedule(e.out)
    for tensor in (e.x_chip, *e.steps):
        s[tensor].compute_inline()
    s[e.out].vectorize(e.out.op.axis[-1])
    return s


def by_numpy(x: np.ndarray, op: HardSwish) -> tuple[np.ndarray, np.ndarray]:
    """The integer arithmetic, bit for bit, and the real function it stands for."""
    mult, shift = op.word & (1 << 18) - 1, op.word >> 18
    wide = x.astype(np.int64)
    gated = np.clip(wide * 2**GATE_SHIFT + op.three, 0, 2 * op.three) * wide
    integer = np.clip(np.rint(gated * mult / 2**shift), -128, 127).astype(np.int8)
    real = x * op.scale_in
    return integer, real * np.clip(real + 3, 0, 6) / 6


def main() -> None:
    """Run hard-swish on VDLA with and without virtual threads, and on this computer."""
    cfg = vdla.Config.load("pynq-z1")
    op = HardSwish(scale_in=8 / 127, scale_out=8 / 127)
    shape = (1, 64 // cfg.block_out, 56, 56, cfg.batch, cfg.block_out)  # 64 channels of 56 x 56
    x = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    params = np.zeros((1, cfg.block_out, 2), np.int32)
    params[..., 1] = op.word
    integer, real = by_numpy(x, op)

    e = hard_swish(shape, op)
    schedule_for_vdla(e, op, cfg, rows=7, threads=1).show()
    print()
    for threads in (1, 2):
        e = hard_swish(shape, op)
        kernel = vdla.build(schedule_for_vdla(e, op, cfg, rows=7, threads=threads), e.args, config=cfg)
        run = kernel.run(x, params)
        (out,) = run.outputs
        assert run.trace is not None
        busy = (run.trace.totals["alu"] + run.trace.totals["requant"]) / run.cycles
        print(
            f"VDLA, {threads} virtual thread{'s' * (threads > 1)}: equal to numpy: {np.array_equal(out, integer)};",
            end=" ",
        )
        print(f"{run.cycles:,} cycles, vector unit busy {busy:.1%}")
        if threads == 1:
            print("\n".join(f"    {line}" for line in kernel.disassembly().splitlines()[:14]))

    e = hard_swish(shape, op)
    (out,) = host.run(schedule_for_cpu(e), e.args, x, params)
    print(f"this computer, through LLVM: equal to numpy: {np.array_equal(out, integer)}")
    error = np.abs(integer * op.scale_out - real).max() / op.scale_out
    print(f"largest distance to the real function: {error:.2f} steps of int8")


if __name__ == "__main__":
    main()
