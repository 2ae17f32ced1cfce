"""Max and average pooling: a reduction over the window by the vector ALU, its operands in the auxiliary buffer."""

from __future__ import annotations

from dataclasses import dataclass

from compiler import te
from compiler.ir import Expr
from hw.config import Config
from vdla.target import intrinsics
from vdla.target.emit import DMA_PRAGMA
from vdla.target.errors import CapacityError
from vdla.target.layout import ceil_div, packed_shape
from vdla.target.ops.common import (
    Requantization,
    Stages,
    Tile,
    TileLoops,
    attach,
    divisors,
    output_copy,
    padded_input,
    requantize_stage,
    tile_sizes,
)  # fmt: skip
from vdla.target.ops.template import Template


@dataclass(frozen=True)
class PoolSpec:
    """A pooling group: ``kind`` "max", or "sum" with the requantisation that divides."""

    kind: str
    n: int
    c: int
    h: int
    w: int
    kh: int
    kw: int
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    pad_value: int
    quant: Requantization | None = None

    @property
    def oh(self) -> int:
        return (self.h + self.pads[0] + self.pads[2] - self.kh) // self.strides[0] + 1

    @property
    def ow(self) -> int:
        return (self.w + self.pads[1] + self.pads[3] - self.kw) // self.strides[1] + 1


def build(cfg: Config, spec: PoolSpec, tile: Tile) -> tuple[te.Schedule, list[te.Tensor]]:
    """The scheduled group and its arguments: data [, params], output."""
    nb, bo = ceil_div(spec.n, cfg.batch), cfg.block_out
    ob = ceil_div(spec.c, bo)
    a = te.placeholder(packed_shape(cfg, spec.n, spec.c, spec.h, spec.w), "int8", "data")
    inp = padded_input(a, bo, ob, spec.pads, spec.pad_value, "input")
    ry, rx = te.reduce_axis(spec.kh, "ry"), te.reduce_axis(spec.kw, "rx")
    sh, sw = spec.strides
    reducer, op = (te.max, "MAX") if spec.kind == "max" else (te.sum, "ADD")

    def element(i: Expr, ch: Expr, y: Expr, x: Expr, b: Expr, o: Expr) -> Expr:
        return reducer(inp[i, ch, y * sh + ry, x * sw + rx, b, o].astype("int32"), axis=[ry, rx])

    acc = te.compute((nb, ob, spec.oh, spec.ow, cfg.batch, bo), element, name="pool")
    stages = Stages()
    args = [a]
    if spec.quant is None:
        result = te.compute(acc.shape, lambda *i: intrinsics.saturate_expr(acc[i]), name="saturated")
        stages.add(result, intrinsics.saturate(cfg), "out")
    else:
        params = te.placeholder((ob, bo, 2), "int32", "params")
        args.append(params)
        result = requantize_stage(cfg, stages, acc, params, spec.quant, True, "requantized")
    out = output_copy(cfg, result, spec.c)
    s = te.create_schedule(out)
    loops = TileLoops(cfg, s, out, tile)
    attach(cfg, s, stages, loops, out)
    pool = s[acc]
    pool.set_scope("acc")
    pool.compute_at(s[out], loops.inner)
    i, ch, y, x, b, o = pool.op.axis
    pool.reorder(i, *pool.op.reduce_axis, ch, y, x, b, o)
    pool.tensorize(b, intrinsics.reduction(cfg, op))
    s[inp].set_scope("aux")
    s[inp].compute_at(s[out], loops.inner)
    s[inp].pragma(s[inp].op.axis[0], DMA_PRAGMA, True)
    return s, [*args, out]


def choose_tile(cfg: Config, spec: PoolSpec, virtual_threads: bool = True) -> Tile:
    """The tile with the least estimated cycles.  Raises CapacityError when none fits."""
    ob = ceil_div(spec.c, cfg.block_out)
    in_cycles, out_cycles = cfg.aux_vector_bytes / cfg.bus_bytes, cfg.out_vector_bytes / cfg.bus_bytes
    best: tuple[float, Tile] | None = None
    splits = [("h", 1)] if not virtual_threads else [("h", 2), ("oc", 2), ("h", 1)]
    for axis, threads in splits:
        for oc in divisors(ob):
            for h in tile_sizes(spec.oh):
                for w in tile_sizes(spec.ow):
                    parts = ob // oc if axis == "oc" else ceil_div(spec.oh, h)
                    if parts % threads:
                        continue
                    pixels = oc * h * w
                    inputs = oc * ((h - 1) * spec.strides[0] + spec.kh) * ((w - 1) * spec.strides[1] + spec.kw)
                    params = 0 if spec.quant is None else oc * (threads if axis == "oc" else 1) * cfg.param_vectors
                    if threads * inputs + params > cfg.aux_depth or threads * pixels > min(
                        cfg.acc_depth, cfg.out_depth
                    ):
                        continue
                    busy = pixels * (spec.kh * spec.kw + 1) * max(1.0, 8 / pixels) + 30
                    moved = inputs * in_cycles + 40
                    tiles = ceil_div(spec.n, cfg.batch) * (ob // oc) * ceil_div(spec.oh, h) * ceil_div(spec.ow, w)
                    each = max(busy, moved) if threads > 1 else busy + moved
                    total = tiles * max(each, pixels * out_cycles) + moved + pixels * out_cycles
                    if best is None or total < best[0]:
                        best = (total, Tile(oc, h, w, threads, axis))
    if best is None:
        raise CapacityError(
            f"a {spec.kh}x{spec.kw} pooling window needs at least {spec.kh * spec.kw * cfg.aux_vector_bytes} bytes of "
            f"the aux buffer and one vector of the others (vdla.aux_buffer is {cfg.aux_buffer})"
        )
    return best[1]


TEMPLATE = Template[PoolSpec, Tile](
    build, choose_tile, lambda spec: f"{spec.kind}_pool_{spec.c}x{spec.h}x{spec.w}_k{spec.kh}x{spec.kw}"
)
