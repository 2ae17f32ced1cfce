"""The machine's operations as tensor intrinsics: behaviour as a tensor expression + lowering rule.

An intrinsic is declared once for a configuration; ``stage.tensorize(axis, intrin)`` replaces a unit of computation
by it after matching.  What they lower to are calls that the stream emitter (:mod:`vdla.target.emit`) folds, together
with the loops around them, into one instruction each:

========================================================= =====================================================
``vdla.gemm(acc, inp, wgt, first)``                       one GEMM operation; ``first``: overwrite
``vdla.alu(op, dst, x, y, first, imm, shift, to_out)``    one ALU operation; ``y`` an address or the immediate
``vdla.requant(dst, acc, param, zero_point, low, high)``  one REQUANT operation
========================================================= =====================================================

Memory scopes: ``inp wgt aux acc out`` are the buffers of the same name.
"""

from __future__ import annotations

from functools import cache

from compiler import te
from compiler.ir import Call, Evaluate, Expr, IntImm, Stmt, maximum, minimum, rshift_rne
from hw.config import Config


def requantize_expr(acc: Expr, bias: Expr, word: Expr, zero_point: int, low: int, high: int, dtype: str) -> Expr:
    """REQUANT as an expression: ``clip(rne((acc + bias) * mult / 2**shift) + zero_point, low, high)``.

    ``word`` (int32) holds the signed multiplier in bits 17:0 and the shift in bits 23:18.
    """
    mult = ((word << 14) >> 14).astype("int64")
    shift = ((word >> 18) & 63).astype("int64")
    scaled = rshift_rne((acc + bias).astype("int64") * mult, shift) + IntImm(zero_point, "int64")
    return minimum(maximum(scaled, IntImm(low, "int64")), IntImm(high, "int64")).astype(dtype)


def muladd_expr(x: Expr, y: Expr, factor: int, shift: int) -> Expr:
    """MULADD as an expression: ``(x << shift) + y * factor`` in int32."""
    return (x << shift) + y * factor


def _int(value: int) -> IntImm:
    return IntImm(value, "int32")


@cache
def gemm(cfg: Config) -> te.TensorIntrin:
    """``acc[b, o] += sum_k inp[b, k] * wgt[o, k]``, int8 x int8 into int32."""
    x = te.placeholder((cfg.batch, cfg.block_in), "int8", "x")
    w = te.placeholder((cfg.block_out, cfg.block_in), "int8", "w")
    k = te.reduce_axis(cfg.block_in, "k")
    out = te.compute(
        (cfg.batch, cfg.block_out),
        lambda b, o: te.sum(x[b, k].astype("int32") * w[o, k].astype("int32"), axis=k),
        name="gemm",
    )

    def lower(ctx: te.TensorizeContext) -> Stmt:
        inp, wgt = ctx.inputs
        return Evaluate(Call("vdla.gemm", [ctx.output.address, inp.address, wgt.address, ctx.first]))

    return te.decl_tensor_intrin(out, "vdla.gemm", lower, init="fused")


@cache
def requantize(cfg: Config, zero_point: int, low: int, high: int, dtype: str) -> te.TensorIntrin:
    """One REQUANT operation; ``dtype`` int8 writes the output buffer, int32 the accumulators in place."""
    acc = te.placeholder((cfg.batch, cfg.block_out), "int32", "acc")
    param = te.placeholder((cfg.block_out, 2), "int32", "param")
    out = te.compute(
        (cfg.batch, cfg.block_out),
        lambda b, o: requantize_expr(acc[b, o], param[o, 0], param[o, 1], zero_point, low, high, dtype),
        name="requantize",
    )

    def lower(ctx: te.TensorizeContext) -> Stmt:
        src, par = ctx.inputs
        args = [ctx.output.address, src.address, par.address, _int(zero_point), _int(low), _int(high)]
        return Evaluate(Call("vdla.requant", args))

    return te.decl_tensor_intrin(out, "vdla.requant", lower)


def _alu(op: str, dst: Expr, x: Expr, y: Expr, first: Expr, imm: int = 0, shift: int = 0, to_out: int = 0) -> Stmt:
    return Evaluate(Call("vdla.alu", [op, dst, x, y, first, _int(imm), _int(shift), _int(to_out)]))


@cache
def muladd(cfg: Config, factor: int, shift: int, source: str = "int8") -> te.TensorIntrin:
    """``(x << shift) + y * factor`` ; ``x`` in the accumulators, ``y`` int8 (aux) or int32 (acc)."""
    x = te.placeholder((cfg.batch, cfg.block_out), "int32", "x")
    y = te.placeholder((cfg.batch, cfg.block_out), source, "y")
    out = te.compute(
        (cfg.batch, cfg.block_out),
        lambda b, o: muladd_expr(x[b, o], y[b, o].astype("int32"), factor, shift),
        name="muladd",
    )

    def lower(ctx: te.TensorizeContext) -> Stmt:
        a, b = ctx.inputs
        return _alu("MULADD", ctx.output.address, a.address, b.address, IntImm(0, "bool"), factor, shift)

    return te.decl_tensor_intrin(out, "vdla.muladd", lower)


@cache
def immediate(cfg: Config, op: str, value: int) -> te.TensorIntrin:
    """``x op value`` on accumulators, in place; ``op`` one of ADD MUL MAX MIN SHR."""
    x = te.placeholder((cfg.batch, cfg.block_out), "int32", "x")
    table = {
        "ADD": lambda a: a + value, "MUL": lambda a: a * value, "MAX": lambda a: maximum(a, value),
        "MIN": lambda a: minimum(a, value), "SHR": lambda a: a >> value,
    }  # fmt: skip
    out = te.compute((cfg.batch, cfg.block_out), lambda b, o: table[op](x[b, o]), name=op.lower())

    def lower(ctx: te.TensorizeContext) -> Stmt:
        (a,) = ctx.inputs
        return _alu(op, ctx.output.address, a.address, _int(value), IntImm(0, "bool"))

    return te.decl_tensor_intrin(out, f"vdla.{op.lower()}_imm", lower)


@cache
def elementwise(cfg: Config, op: str, source: str = "int8") -> te.TensorIntrin:
    """``x op y`` on two vectors; ``op`` one of ADD MUL MAX MIN; ``y`` int8 (auxiliary) or int32 (accumulator)."""
    x = te.placeholder((cfg.batch, cfg.block_out), "int32", "x")
    y = te.placeholder((cfg.batch, cfg.block_out), source, "y")
    table = {"ADD": lambda a, b: a + b, "MUL": lambda a, b: a * b, "MAX": maximum, "MIN": minimum}
    out = te.compute(
        (cfg.batch, cfg.block_out), lambda b, o: table[op](x[b, o], y[b, o].astype("int32")), name=op.lower()
    )

    def lower(ctx: te.TensorizeContext) -> Stmt:
        a, b = ctx.inputs
        return _alu(op, ctx.output.address, a.address, b.address, IntImm(0, "bool"))

    return te.decl_tensor_intrin(out, f"vdla.{op.lower()}", lower)


@cache
def reduction(cfg: Config, op: str) -> te.TensorIntrin:
    """``acc = max(acc, aux)`` or ``acc + aux`` as one step of a reduction over int8 vectors; ``op`` MAX or ADD."""
    y = te.placeholder((cfg.batch, cfg.block_out), "int8", "y")
    k = te.reduce_axis(1, "k")
    reducer = {"MAX": te.max, "ADD": te.sum}[op]
    out = te.compute(
        (cfg.batch, cfg.block_out),
        lambda b, o: reducer(y[b, o].astype("int32"), axis=k),
        name=f"reduce_{op.lower()}",
    )

    def lower(ctx: te.TensorizeContext) -> Stmt:
        (src,) = ctx.inputs
        return _alu(op, ctx.output.address, ctx.output.address, src.address, ctx.first)

    return te.decl_tensor_intrin(out, f"vdla.reduce_{op.lower()}", lower, init="fused")


@cache
def widen(cfg: Config) -> te.TensorIntrin:
    """int8 from the auxiliary buffer into an accumulator."""
    y = te.placeholder((cfg.batch, cfg.block_out), "int8", "y")
    out = te.compute((cfg.batch, cfg.block_out), lambda b, o: y[b, o].astype("int32"), name="widen")

    def lower(ctx: te.TensorizeContext) -> Stmt:
        (src,) = ctx.inputs
        return _alu("ADD", ctx.output.address, ctx.output.address, src.address, IntImm(1, "bool"))

    return te.decl_tensor_intrin(out, "vdla.widen", lower)


@cache
def saturate(cfg: Config) -> te.TensorIntrin:
    """Accumulator, saturated to int8, into the output buffer."""
    x = te.placeholder((cfg.batch, cfg.block_out), "int32", "x")
    out = te.compute((cfg.batch, cfg.block_out), lambda b, o: saturate_expr(x[b, o]), name="saturate")

    def lower(ctx: te.TensorizeContext) -> Stmt:
        (src,) = ctx.inputs
        return _alu("ADD", ctx.output.address, src.address, _int(0), IntImm(0, "bool"), 0, 0, 1)

    return te.decl_tensor_intrin(out, "vdla.saturate", lower)


def saturate_expr(x: Expr) -> Expr:
    """int32 clipped to -128..127 and narrowed to int8."""
    return minimum(maximum(x, -128), 127).astype("int8")
