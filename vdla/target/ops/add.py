"""Addition of two int8 tensors with different scales, on its own (behind a convolution it is fused there)."""

from __future__ import annotations

from dataclasses import dataclass

from compiler import te
from hw.config import Config
from vdla.target import intrinsics
from vdla.target.emit import DMA_PRAGMA
from vdla.target.errors import CapacityError
from vdla.target.layout import ceil_div, packed_shape
from vdla.target.ops.common import (
    ResidualAdd,
    Stages,
    Tile,
    TileLoops,
    attach,
    divisors,
    output_copy,
    padded_input,
    residual_stages,
    tile_sizes,
)  # fmt: skip
from vdla.target.ops.template import Template


@dataclass(frozen=True)
class AddSpec:
    """An addition group on [N][C][H][W] tensors."""

    n: int
    c: int
    h: int
    w: int
    add: ResidualAdd


def build(cfg: Config, spec: AddSpec, tile: Tile) -> tuple[te.Schedule, list[te.Tensor]]:
    """The scheduled group and its arguments: a, b, params, output."""
    bo = cfg.block_out
    ob = ceil_div(spec.c, bo)
    packed = packed_shape(cfg, spec.n, spec.c, spec.h, spec.w)
    a, b = te.placeholder(packed, "int8", "a"), te.placeholder(packed, "int8", "b")
    params = te.placeholder((1, bo, 2), "int32", "add_params")
    first = padded_input(a, bo, ob, (0, 0, 0, 0), 0, "first")
    stages = Stages()
    wide = te.compute(first.shape, lambda *i: first[i].astype("int32"), name="wide")
    stages.add(wide, intrinsics.widen(cfg), "acc")
    out = output_copy(cfg, residual_stages(cfg, stages, wide, b, spec.add, params), spec.c)
    s = te.create_schedule(out)
    loops = TileLoops(cfg, s, out, tile)
    attach(cfg, s, stages, loops, out)
    s[first].set_scope("aux")
    s[first].compute_at(s[out], loops.inner)
    s[first].pragma(s[first].op.axis[0], DMA_PRAGMA, True)
    return s, [a, b, params, out]


def choose_tile(cfg: Config, spec: AddSpec, virtual_threads: bool = True) -> Tile:
    """The largest tile that fits, split over virtual threads where it can be."""
    ob = ceil_div(spec.c, cfg.block_out)
    best: tuple[float, Tile] | None = None
    for threads in (2, 1) if virtual_threads else (1,):
        for oc in divisors(ob):
            for h in tile_sizes(spec.h):
                for w in tile_sizes(spec.w):
                    pixels = oc * h * w
                    aux = threads * 2 * pixels + cfg.param_vectors
                    if ceil_div(spec.h, h) % threads or aux > cfg.aux_depth:
                        continue
                    if threads * pixels > min(cfg.acc_depth, cfg.out_depth):
                        continue
                    tiles = ceil_div(spec.n, cfg.batch) * (ob // oc) * ceil_div(spec.h, h) * ceil_div(spec.w, w)
                    moved = 2 * pixels * cfg.aux_vector_bytes / cfg.bus_bytes + 40
                    each = max(moved, 3.0 * pixels) if threads > 1 else moved + 3.0 * pixels + 40
                    total = tiles * each + moved + 3 * pixels
                    if best is None or total < best[0]:
                        best = (total, Tile(oc, h, w, threads, "h"))
    if best is None:
        raise CapacityError(
            f"an addition needs at least {(2 + cfg.param_vectors) * cfg.aux_vector_bytes} bytes of the aux buffer "
            f"(vdla.aux_buffer is {cfg.aux_buffer})"
        )
    return best[1]


TEMPLATE = Template[AddSpec, Tile](build, choose_tile, lambda spec: f"add_{spec.c}x{spec.h}x{spec.w}")
