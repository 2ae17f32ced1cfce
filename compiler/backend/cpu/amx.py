"""Convolutions of int8 on x86's matrix unit (AMX), which is reached like any instruction: a declared tensor intrinsic.

One intrinsic is a block of a layer's sums: its accumulators stay in the unit's tile registers over the whole reduction.
A tile of inputs is up to 16 pixels of a row by up to 64 channels, as they lie in memory; one of weights, four channels
by 16 outputs a row.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from math import prod

from compiler.arith import linear_form
from compiler.backend.cpu.processor import Processor
from compiler.backend.llvm.intrinsics import constant_bytes, immediate, perform, pointer
from compiler.ir import (
    Allocate,
    Attr,
    Buffer,
    Call,
    Evaluate,
    Expr,
    For,
    Load,
    PrimFunc,
    Seq,
    Stmt,
    Var,
    const,
    map_stmt,
    seq,
    walk_expr,
    walk_stmt,
)
from compiler.te.intrin import TensorIntrin, TensorizeContext, decl_tensor_intrin
from compiler.te.tensor import ComputeOp, Tensor, compute, placeholder, reduce_axis
from compiler.te.tensor import sum as te_sum

#: outputs of a tile, and int8 channels that one of its int32 columns takes at a time
LANES, QUAD = 16, 4
#: most rows of a tile
ROWS = 16
_FEATURES = frozenset({"amx-tile", "amx-int8"})
_TILES = 8
# Marks a statement that needs the tile registers configured as the mark's value says.
_CONFIGURED = "amx.tiles"
_ROW_BYTES = 64


@dataclass(frozen=True)
class Block:
    """What is computed at once: `vectors` vectors of outputs by `rows` x `columns` pixels."""

    vectors: int
    rows: int
    columns: int

    @property
    def inputs(self) -> int:
        """The first tile of inputs; those before it accumulate."""
        return self.vectors * self.rows

    @property
    def weights(self) -> int:
        """The first tile of weights."""
        return self.inputs + self.rows

    @property
    def fits(self) -> bool:
        """Whether the tile registers hold it, a tile of weights included."""
        return self.weights < _TILES and self.columns <= ROWS

    @property
    def cost(self) -> float:
        """Cycles of the matrix unit for each pixel and vector, two rows of tiles loaded a cycle."""
        products = self.vectors * self.rows * self.columns
        loads = (self.vectors * ROWS + self.rows * self.columns) / 2
        return (max(products, loads) + 0.2 * min(products, loads)) / products


def blocks(vectors: int, height: int, width: int) -> list[Block]:
    """The blocks that divide an output, the one expected to be fastest first."""
    found = [
        Block(v, r, c)
        for v in range(1, 5)
        for r in range(1, 4)
        for c in range(1, ROWS + 1)
        if vectors % v == 0 and height % r == 0 and width % c == 0 and Block(v, r, c).fits
    ]
    return sorted(found, key=lambda block: block.cost)


def extent(vectors: int, height: int, width: int, padded: bool) -> tuple[int, int]:
    """Height and width to compute, not less than the output's; more only where the input is copied anyway."""
    more = 4 if padded or width > ROWS else 1
    sizes = [(h, w) for h in range(height, height + more) for w in range(width, width + more)]
    return min(sizes, key=lambda size: blocks(vectors, *size)[0].cost * size[0] * size[1])


def available(processor: Processor) -> bool:
    """Whether a processor has the matrix unit."""
    return _FEATURES <= processor.features


def without_tiles(processor: Processor) -> Processor:
    """The same processor for code that must not use the matrix unit."""
    return replace(processor, features=processor.features - _FEATURES)


def weights_layout(block: int, reduced: tuple[int, ...] = (QUAD,)) -> str:
    """Of weights whose input channels lie in blocks of so many and are reduced in these groups of neighbours."""
    *groups, last = reduced
    outer = block // prod(reduced)
    inner = "".join(f"{count}i" for count in [*([outer] if outer > 1 or groups else []), *groups])
    return f"OIHW{inner}{LANES}o{last}i"


@dataclass(frozen=True)
class Window:
    """A layer's strides and dilations, (vertical, horizontal)."""

    strides: tuple[int, int]
    dilations: tuple[int, int]

    @staticmethod
    def of(sums: ComputeOp, source: Tensor) -> Window:
        """That of a convolution's sums [n, o, h, w, lane] over (rc, rh, rw, ...), read off the indices of its input."""
        (read,) = {e for e in walk_expr(sums.body) if isinstance(e, Load) and e.buffer is source}
        moves = []
        for axis, reduced, index in zip(sums.axis[2:4], sums.reduce_axis[1:3], read.indices[2:4], strict=True):
            form = linear_form(index, [axis, reduced])
            assert form is not None
            moves.append((form.terms.get(axis, 1), form.terms.get(reduced, 1)))
        (sh, dh), (sw, dw) = moves
        return Window((sh, sw), (dh, dw))


def conv_block(x: tuple[int, ...], w: tuple[int, ...], block: Block, window: Window) -> TensorIntrin:
    """int32 [vectors, rows, columns, 16]: sums over the whole window and all channels.

    Args:
        x: shape of the padded input without its batch, [C/b, H, W, b], int8, b at most 64 and a multiple of 4.
        w: shape of the weights [O/16, C/b, kh, kw, b/4, 16, 4], int8; b/4 is left out where it is 1.
    """
    (sh, sw), (dh, dw) = window.strides, window.dilations
    channels, kh, kw = w[1:4]
    quads = reduce_axis(x[3] // QUAD, "rq")
    data = placeholder(x, "int8", "x")
    weights = placeholder((block.vectors, *w[1:4], quads.extent, LANES, QUAD), "int8", "w")
    rc, rh, rw = reduce_axis(channels, "rc"), reduce_axis(kh, "rh"), reduce_axis(kw, "rw")
    ri = reduce_axis(QUAD, "ri")

    def element(v: Expr, row: Expr, column: Expr, lane: Expr) -> Expr:
        pixel = data[rc, row * sh + rh * dh, column * sw + rw * dw, quads * QUAD + ri]
        return te_sum(
            pixel.astype("int32") * weights[v, rc, rh, rw, quads, lane, ri].astype("int32"),
            axis=(rc, rh, rw, quads, ri),
        )

    shape = (block.vectors, block.rows, block.columns, LANES)
    # Few channels: the window's columns lie beside each other in memory and are reduced together.
    columns = kw if dw == 1 and kw * x[3] <= _ROW_BYTES else 1

    def lower(ctx: TensorizeContext) -> Stmt:
        source, packed = ctx.inputs
        c, i, j = Var("c"), Var("i"), Var("j")
        body: list[Stmt] = []
        for row in range(block.rows):
            body.append(_load(block.inputs + row, source.at(c, row * sh + i * dh, j * columns * dw, 0), sw * x[3]))
        rest = (0,) * (len(w) - 4)
        spare = _TILES - block.weights
        for v in range(block.vectors):
            tile = block.weights + v % spare
            body.append(_load(tile, packed.at(v, c, i, j * columns, *rest), _ROW_BYTES))
            body += [_products(v * block.rows + row, block.inputs + row, tile) for row in range(block.rows)]
        nest: Stmt = seq(*body)
        for var, extent in ((j, kw // columns), (i, kh), (c, channels)):
            nest = For(var, extent, nest)
        sums = [(v * block.rows + row, v, row) for v in range(block.vectors) for row in range(block.rows)]
        whole = seq(
            *[perform("llvm.x86.tilezero", immediate("i8", tile)) for tile, _, _ in sums],
            nest,
            *[_store(tile, ctx.output.at(v, row, 0, 0)) for tile, v, row in sums],
        )
        return Attr(_CONFIGURED, _configuration(block, columns * x[3]), whole)

    return decl_tensor_intrin(compute(shape, element, "sums"), "amx.conv_block", lower, inputs=[data, weights])


def configure_tiles(func: PrimFunc) -> PrimFunc:
    """`func` with the tile registers configured for its blocks: once a parallel iteration, or once altogether.

    Whoever calls it finds its own configuration again: others who share the thread rely on theirs.
    """

    def configurations(s: Stmt) -> set[bytes]:
        return {inner.value for inner in walk_stmt(s) if isinstance(inner, Attr) and inner.key == _CONFIGURED}

    def surround(s: Stmt) -> Stmt:
        found = configurations(s)
        if not found:
            return s
        (data,) = found  # a group has one convolution
        kept = Buffer("configuration", (len(data),), "uint8", "local")
        address = pointer(Call("address_of", (Load(kept, (const(0, "int32"),)),), "handle"))
        body = map_stmt(s, on_stmt=lambda t: t.body if isinstance(t, Attr) and t.key == _CONFIGURED else None)
        configure = perform("llvm.x86.ldtilecfg", constant_bytes(data))
        return Allocate(
            kept, seq(perform("llvm.x86.sttilecfg", address), configure, body, perform("llvm.x86.ldtilecfg", address))
        )

    def visit(s: Stmt) -> Stmt:
        if isinstance(s, For):
            return s.replace(body=surround(s.body)) if s.kind == "parallel" else surround(s)
        if isinstance(s, Seq):
            return seq(*map(visit, s.stmts))
        if isinstance(s, Allocate):
            return Allocate(s.buffer, visit(s.body))
        return surround(s)

    return PrimFunc(func.name, func.params, visit(func.body), func.attrs)


def _configuration(block: Block, reduced: int) -> bytes:
    """What LDTILECFG reads: palette 1, each tile's bytes a row and its rows. `reduced`: int8 elements of a product."""
    sizes = [(_ROW_BYTES, block.columns)] * block.inputs
    sizes += [(reduced, block.columns)] * block.rows
    sizes += [(_ROW_BYTES, reduced // QUAD)] * (_TILES - block.weights)
    widths, rows = zip(*sizes, strict=True)
    return struct.pack("<BB14x8H16x8B8x", 1, 0, *widths, *rows)


def _load(tile: int, address: Expr, stride: int) -> Evaluate:
    return perform("llvm.x86.tileloadd64", immediate("i8", tile), pointer(address), immediate("i64", stride))


def _store(tile: int, address: Expr) -> Evaluate:
    return perform("llvm.x86.tilestored64", immediate("i8", tile), pointer(address), immediate("i64", _ROW_BYTES))


def _products(sums: int, inputs: int, weights: int) -> Evaluate:
    return perform("llvm.x86.tdpbssd", *[immediate("i8", tile) for tile in (sums, inputs, weights)])
