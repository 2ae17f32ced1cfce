"""What the schedule templates share: padded input stages, epilogues, the output copy and the tile loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from compiler import te
from compiler.ir import Expr, IntImm, logical_and, select
from hw.config import Config
from vdla.target import intrinsics
from vdla.target.emit import DMA_PRAGMA
from vdla.target.fold import MOST
from vdla.target.layout import act_block, ceil_div


def divisors(n: int) -> list[int]:
    """The divisors of ``n``, ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]


def tile_sizes(n: int) -> list[int]:
    """Sensible tile extents for ``n``: its divisors, and extents that split it into few nearly equal tiles.

    None is longer than a hardware loop.
    """
    sizes = set(divisors(n)) | {ceil_div(n, parts) for parts in range(1, min(n, 32) + 1)}
    return sorted(size for size in sizes if size <= MOST)


def channel_block(
    a: te.Tensor, block: int, blocks: int, at: Callable[[Expr, Expr], Expr]
) -> Callable[[Expr, Expr], tuple[Expr, list[Expr]]]:
    """Access to a packed activation [N][C/c][H][W][b][c] in blocks of another size.

    ``at(channel block, lane)`` loads an element.  Returns a function of (block index, lane) that gives the element and
    the guards under which it exists (the last block may hold more lanes than there are channels).
    """
    c, have = a.shape[5], a.shape[1] * a.shape[5]

    def element(cb: Expr, k: Expr) -> tuple[Expr, list[Expr]]:
        if block == c:
            return at(cb, k), [cb < a.shape[1]] if blocks > a.shape[1] else []
        channel = cb * block + k
        return at(channel // c, channel % c), [channel < have] if blocks * block > have else []

    return element


def padded_input(
    a: te.Tensor, block: int, blocks: int, pads: tuple[int, int, int, int], value: int, name: str
) -> te.Tensor:
    """A packed activation [N][C/c][H][W][b][c] as [N][blocks][H+..][W+..][b][block], padded with ``value``."""
    n, _, h, w, b, _ = a.shape
    top, left, bottom, right = pads

    def element(i: Expr, cb: Expr, y: Expr, x: Expr, bb: Expr, k: Expr) -> Expr:
        inside, guards = channel_block(a, block, blocks, lambda p, q: a[i, p, y - top, x - left, bb, q])(cb, k)
        if top:
            guards.append(y >= top)
        if bottom:
            guards.append(y < h + top)
        if left:
            guards.append(x >= left)
        if right:
            guards.append(x < w + left)
        return select(logical_and(*guards), inside, IntImm(value, a.dtype)) if guards else inside

    return te.compute((n, blocks, h + top + bottom, w + left + right, b, block), element, name=name)


@dataclass(frozen=True)
class Requantization:
    """Zero point and clip range of a requantisation."""

    zero_point: int
    low: int = -128
    high: int = 127


@dataclass(frozen=True)
class ResidualAdd:
    """The integer addition of two int8 tensors, the graph's ``qadd``: ``t = ((a - za) << k) + (b - zb) * m2``, then a
    requantisation of ``t``.  ``first`` tells whether the group's own result is ``a`` (else it is ``b``)."""

    za: int
    zb: int
    k: int
    m2: int
    quant: Requantization
    first: bool = True


@dataclass
class Stages:
    """The stages of a group, in order, with what each is tensorized by."""

    steps: list[tuple[te.Tensor, te.TensorIntrin, str]] = field(default_factory=list)  # tensor, intrinsic, scope
    caches: list[tuple[te.Tensor, te.Tensor]] = field(default_factory=list)  # DRAM tensor, reading tensor

    def add(self, tensor: te.Tensor, intrin: te.TensorIntrin, scope: str) -> te.Tensor:
        self.steps.append((tensor, intrin, scope))
        return tensor


def requantize_stage(
    cfg: Config, stages: Stages, acc: te.Tensor, params: te.Tensor, quant: Requantization, to_out: bool, name: str
) -> te.Tensor:
    """REQUANT over ``acc`` with one parameter entry a channel block (or a single entry for all)."""
    dtype = "int8" if to_out else "int32"
    single = params.shape[0] == 1

    def element(i: Expr, ob: Expr, y: Expr, x: Expr, b: Expr, o: Expr) -> Expr:
        p = IntImm(0) if single else ob
        return intrinsics.requantize_expr(
            acc[i, ob, y, x, b, o], params[p, o, 0], params[p, o, 1], quant.zero_point, quant.low, quant.high, dtype
        )

    out = te.compute(acc.shape, element, name=name)
    intrin = intrinsics.requantize(cfg, quant.zero_point, quant.low, quant.high, dtype)
    stages.caches.append((params, out))
    return stages.add(out, intrin, "out" if to_out else "acc")


def residual_stages(
    cfg: Config, stages: Stages, x: te.Tensor, other: te.Tensor, add: ResidualAdd, params: te.Tensor
) -> te.Tensor:
    """``x`` (int32 accumulators holding an int8 value) plus the packed activation ``other``, requantised.

    The zero points are part of ``params``' bias: the stages add ``x << k`` and ``other * m2`` (or the reverse).
    """
    aux = padded_input(other, cfg.block_out, x.shape[1], (0, 0, 0, 0), 0, "residual")
    stages.caches.append((other, aux))
    if add.first:
        total = te.compute(
            x.shape,
            lambda *i: intrinsics.muladd_expr(x[i], aux[i].astype("int32"), add.m2, add.k),
            name="sum",
        )
        stages.add(total, intrinsics.muladd(cfg, add.m2, add.k), "acc")
    else:
        # MULADD shifts the accumulator it replaces: the other operand moves into one of its own.
        wide = te.compute(x.shape, lambda *i: aux[i].astype("int32"), name="wide")
        stages.add(wide, intrinsics.widen(cfg), "acc")
        total = te.compute(
            x.shape,
            lambda *i: intrinsics.muladd_expr(wide[i], x[i].astype("int32"), add.m2, add.k),
            name="sum",
        )
        stages.add(total, intrinsics.muladd(cfg, add.m2, add.k, "int32"), "acc")
    return requantize_stage(cfg, stages, total, params, add.quant, True, "added")


def output_copy(cfg: Config, result: te.Tensor, channels: int, name: str = "out") -> te.Tensor:
    """``result`` [N][O/bo][H][W][b][bo] in the out buffer, copied to the packed activation layout in DRAM."""
    n, _, h, w, b, bo = result.shape
    c = act_block(cfg)

    def element(i: Expr, cb: Expr, y: Expr, x: Expr, bb: Expr, k: Expr) -> Expr:
        if bo == c:
            return result[i, cb, y, x, bb, k]
        channel = cb * c + k
        return result[i, channel // bo, y, x, bb, channel % bo]

    return te.compute((n, ceil_div(channels, c), h, w, b, c), element, name=name)


@dataclass(frozen=True)
class Tile:
    """Output tile of one virtual thread and how the threads share the work.

    ``oc``: output blocks, ``h`` and ``w``: rows and columns, ``threads``: virtual threads, over ``axis`` ("oc" or "h").
    """

    oc: int
    h: int
    w: int
    threads: int = 1
    axis: str = "h"


class TileLoops:
    """The loops over the output: tiles outside, then virtual threads, then one tile's copy to DRAM.

    ``outer``: axis outside the threads below which a whole output-channel slice is done (where resident weights and
    parameters attach); ``inner``: the axis at which the stages of one tile attach.
    """

    def __init__(self, cfg: Config, s: te.Schedule, out: te.Tensor, tile: Tile) -> None:
        stage = s[out]
        n, cb, y, x, b, c = stage.op.axis
        ratio = cfg.block_out // act_block(cfg)
        co, ci = stage.split(cb, factor=tile.oc * ratio)
        yo, yi = stage.split(y, factor=tile.h)
        xo, xi = stage.split(x, factor=tile.w)
        if tile.threads > 1:
            if tile.axis == "oc":
                co, thread = stage.split(co, factor=tile.threads)
            else:
                yo, thread = stage.split(yo, factor=tile.threads)
            stage.reorder(co, n, yo, xo, thread, ci, yi, xi, b, c)
            stage.bind(thread, te.thread_axis("vthread"))
            self.inner = thread
        else:
            stage.reorder(co, n, yo, xo, ci, yi, xi, b, c)
            self.inner = xo
        self.outer = co
        stage.pragma(ci, DMA_PRAGMA, True)


def attach(cfg: Config, s: te.Schedule, stages: Stages, loops: TileLoops, out: te.Tensor) -> None:
    """Put every epilogue stage and its operands inside the tile loops, in their buffers, tensorized."""
    for tensor, intrin, scope in stages.steps:
        stage = s[tensor]
        stage.set_scope(scope)
        stage.compute_at(s[out], loops.inner)
        stage.tensorize(stage.op.axis[-2], intrin)
    for source, reader in stages.caches:
        if isinstance(reader.op, te.ComputeOp) and reader.name == "residual":
            stage = s[reader]
            stage.set_scope("aux")
            stage.compute_at(s[out], loops.inner)
            stage.pragma(stage.op.axis[1], DMA_PRAGMA, True)
        else:
            cached = s.cache_read(source, "aux", [reader])
            s[cached].compute_at(s[out], loops.outer)
            s[cached].pragma(s[cached].op.axis[0], DMA_PRAGMA, True)
