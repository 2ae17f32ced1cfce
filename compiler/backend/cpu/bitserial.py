"""Schedules of bit-serial convolution and dense layers: plain, and tensorized with a declared micro-kernel.

The micro-kernel computes a few outputs from all their bits: vectors of bytes are loaded, ANDed and population-counted
(NEON's cnt), the counts added up as bytes for as long as they fit, then widened, weighted and summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from compiler.backend.cpu.default_schedule import default_schedule
from compiler.backend.cpu.parallel import parallelize
from compiler.backend.llvm.intrinsics import combine, immediate, invoke, vector_load, vector_store, widen
from compiler.errors import CompileError
from compiler.ir import Expr, Seq, Stmt, call, const
from compiler.ops.compute.bitserial import BITSERIAL
from compiler.te.intrin import Region, TensorIntrin, TensorizeContext, decl_tensor_intrin
from compiler.te.schedule import Schedule, create_schedule
from compiler.te.tensor import ComputeOp, Tensor, compute, placeholder, reduce_axis
from compiler.te.tensor import sum as te_sum

# Outputs of one micro-kernel, and so many vectors of counts together that they stay in registers.
_OUTPUTS = 4
_VECTORS = 16
# Counts of eight bits that a byte can add up.
_COUNTS = 255 // 8
# Of a vector.
_BYTES = 16


def bitserial_intrin(outputs: int, x_bits: int, w_bits: int, window: tuple[int, int], count: int) -> TensorIntrin:
    """The micro-kernel for `outputs` sums over bit planes x [x_bits,kh,kw,count] and w [outputs,w_bits,kh,kw,count].

    Raises:
        CompileError: the bytes of a row of the window are no multiple of 8, which a vector has at least.
    """
    kh, kw = window
    row = kw * count
    if row % 8:
        raise CompileError(f"bit-serial micro-kernel: rows of {row} bytes; they must be a multiple of 8")
    x = placeholder((x_bits, kh, kw, count), "uint8", "x")
    w = placeholder((outputs, w_bits, kh, kw, count), "uint8", "w")
    weight: Expr = const(0, "int32")
    axes = p, q, rh, rw, rc = [reduce_axis(n, a) for a, n in zip("pqhwc", (x_bits, w_bits, kh, kw, count), strict=True)]
    for plane in (p, q):
        weight = weight + plane if plane.extent > 1 else weight  # what is matched has no loop of one iteration

    def element(o: Expr) -> Expr:
        both = x[p, rh, rw, rc] & w[o, q, rh, rw, rc]
        return te_sum(call("popcount", both).astype("int32") << weight, axis=axes)

    y = compute((outputs,), element, "y")
    lanes = _BYTES if row % _BYTES == 0 else _BYTES // 2

    def lower(ctx: TensorizeContext) -> Stmt:
        pixels, weights = ctx.inputs
        stores: list[Stmt] = []
        for o in range(outputs):
            terms: list[Expr] = []
            for shift in range(x_bits + w_bits - 1):
                counts = list(_counts(pixels, weights, o, shift, (x_bits, w_bits, kh, row), lanes))
                for start in range(0, len(counts), _COUNTS):
                    wide = widen(f"v{lanes}i16", _sum(counts[start : start + _COUNTS]))
                    terms.append(combine("shl", wide, immediate(f"v{lanes}i16", shift)) if shift else wide)
            kind = "i16"
            total = _sum(terms)
            if 8 * kh * row * (2**x_bits - 1) * (2**w_bits - 1) >= 1 << 16:
                kind, total = "i32", widen(f"v{lanes}i32", total)
            value: Expr = invoke(f"llvm.vector.reduce.add.v{lanes}{kind}", total, returns=kind)
            value = widen("i32", value) if kind == "i16" else value
            stores.append(vector_store(ctx.output.at(o * ctx.output.strides[0]), value))
        return Seq(stores)

    return decl_tensor_intrin(y, f"bitserial_{x_bits}x{w_bits}", lower, inputs=[x, w])


def _counts(
    x: Region, w: Region, output: int, shift: int, extents: tuple[int, int, int, int], lanes: int
) -> Iterator[Expr]:
    """The counts of all pairs of planes p, q with p + q = shift, a vector of bytes each."""
    x_bits, w_bits, kh, row = extents
    kind = f"v{lanes}i8"
    for rh, at in product(range(kh), range(0, row, lanes)):
        for p, q in product(range(x_bits), range(w_bits)):
            if p + q == shift:
                pixels = vector_load(kind, x.at(p * x.strides[0] + rh * x.strides[1] + at))
                offset = output * w.strides[0] + q * w.strides[1] + rh * w.strides[2] + at
                both = combine("and", pixels, vector_load(kind, w.at(offset)))
                yield invoke(f"llvm.ctpop.{kind}", both, returns=kind)


def _sum(terms: Sequence[Expr]) -> Expr:
    """A balanced tree of additions: an expression must not be deep."""
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    return combine("add", _sum(terms[:middle]), _sum(terms[middle:]))


def schedule_bitserial(output: Tensor, *, tensorized: bool = True) -> Schedule:
    """The schedule of one of `compiler.ops.compute.bitserial`'s convolutions or dense layers.

    tensorized: with the micro-kernel; without, loops for LLVM to vectorize.

    Raises:
        CompileError: `output` is none of them, or does not suit the micro-kernel.
    """
    if not tensorized:
        return default_schedule([output])
    schedule = create_schedule([output])
    stage = schedule[output]
    if not isinstance(stage.op, ComputeOp) or stage.op.tag != BITSERIAL:
        raise CompileError(f"'{output.name}' is no bit-serial operator")
    *outer, o = stage.op.axis
    patches = next((s for s in schedule.stages if s.tensor in stage.op.inputs and isinstance(s.op, ComputeOp)), None)
    p, q, *window = stage.op.reduce_axis
    kh, kw, count = [1, 1, *(axis.extent for axis in window)][-3:]
    vectors = p.extent * q.extent * kh * -(-kw * count // _BYTES)
    most = min(_OUTPUTS, max(1, _VECTORS // vectors))
    size = next(size for size in range(most, 0, -1) if o.extent % size == 0)
    blocks, inner = stage.split(o, factor=size)
    stage.reorder(*outer, blocks, inner, p, q, *window)
    stage.tensorize(inner, bitserial_intrin(size, p.extent, q.extent, (kh, kw), count))
    if patches is None:
        parallelize(stage, [*outer, blocks])
    else:
        patches.compute_at(stage, outer[-1])
        parallelize(stage, outer[:-1])
    return schedule
