"""The schedule templates of VDLA's operators: their knobs, what the buffers allow, and the workloads they serve.

A template chooses the tile of an operator; the schedule that :mod:`vdla.target.ops` builds of it is the same that the
compiler uses.  The space is wider than what the compiler's estimate chooses from (more virtual threads); the buffers'
capacities, and a bound on the length of programs, are rules that exclude points before anything is lowered.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from compiler import te
from compiler.tune.declaration import declare
from compiler.tune.space import ConfigEntity, ConfigSpace, Knobs
from hw.config import Config
from vdla.target.layout import ceil_div
from vdla.target.ops import add, conv2d, pool
from vdla.target.ops.common import Tile, divisors, tile_sizes

Spec = conv2d.ConvSpec | pool.PoolSpec | add.AddSpec
AnyTile = conv2d.ConvTile | Tile

THREADS = ((1, "h"), (2, "h"), (2, "oc"), (4, "h"), (4, "oc"))
"""Virtual threads, and the axis that they share."""

LONGEST = 4
"""Programs may have this many times the transfers of the default's: longer ones only take long to write."""


def threads_of(values: Mapping[str, Any]) -> tuple[int, str]:
    """The threads knob's count and axis."""
    count, axis = values["threads"]
    return count, axis


def _tile_knobs(knobs: Knobs, blocks: int, h: int, w: int) -> Tile:
    """The knobs that every operator has: an output tile and the virtual threads that share the work."""
    count, axis = knobs.choice("threads", THREADS)
    oc = knobs.choice("oc", divisors(blocks))
    tile = Tile(oc, knobs.choice("h", tile_sizes(h)), knobs.choice("w", tile_sizes(w)), count, axis)

    def shared_evenly(v: Mapping[str, Any]) -> bool:
        count, axis = threads_of(v)
        return ((blocks // v["oc"]) if axis == "oc" else ceil_div(h, v["h"])) % count == 0

    knobs.require("the threads have equal shares", shared_evenly)
    return tile


def _outputs_fit(knobs: Knobs, cfg: Config, accumulators: int) -> None:
    """All threads' output tiles fit the accumulators and the out buffer."""
    room = min(cfg.acc_depth // accumulators, cfg.out_depth)
    knobs.require("outputs fit acc and out buffers", lambda v: v["threads"][0] * v["oc"] * v["h"] * v["w"] <= room)


# ------------------------------------------------------------------------------------------------ convolution


def conv_tile(knobs: Knobs, cfg: Config, spec: conv2d.ConvSpec) -> conv2d.ConvTile:
    """The tile of a convolution or dense group."""
    ob, cb = ceil_div(spec.oc, cfg.block_out), conv2d.reduction_blocks(cfg, spec)
    kh, kw = (1, 1) if spec.patch else (spec.kh, spec.kw)
    out = _tile_knobs(knobs, ob, spec.oh, spec.ow)
    ic = knobs.choice("ic", [cb] if spec.depthwise else divisors(cb))
    rows, resident = knobs.choice("weights", [(r, False) for r in divisors(kh)] + [(kh, True)])
    if spec.depthwise:
        knobs.require("no input is shared between output blocks", lambda v: v["threads"][1] == "h")
    second = spec.add is not None and not spec.add.first
    _outputs_fit(knobs, cfg, 2 if second else 1)

    def slice_oc(v: Mapping[str, Any]) -> int:
        count, axis = threads_of(v)
        return v["oc"] * (count if axis == "oc" else 1)

    def aux_fits(v: Mapping[str, Any]) -> bool:
        need = slice_oc(v) * cfg.param_vectors
        if spec.add is not None:
            need += v["threads"][0] * v["oc"] * v["h"] * v["w"] + cfg.param_vectors
        return need <= cfg.aux_depth

    def inputs_fit(v: Mapping[str, Any]) -> bool:
        ih, iw = conv2d.window(spec, v["h"], v["w"])
        return v["threads"][0] * ih * iw * v["ic"] * (v["oc"] if spec.depthwise else 1) <= cfg.inp_depth

    def weights_fit(v: Mapping[str, Any]) -> bool:
        rows, resident = v["weights"]
        whole = slice_oc(v) * cb * kh * kw
        return (whole if resident else v["threads"][0] * v["oc"] * v["ic"] * rows * kw) <= cfg.wgt_depth

    knobs.require("parameters and residual fit the aux buffer", aux_fits)
    knobs.require("inputs fit the inp buffer", inputs_fit)
    knobs.require("weights fit the wgt buffer", weights_fit)
    knobs.require(
        f"at most {LONGEST} times the default's transfers",
        lambda v: conv_chunks(cfg, spec, conv_values_tile(v)) <= LONGEST * _default_chunks(cfg, spec),
    )
    return conv2d.ConvTile(out, ic, rows, resident)


def conv_values_tile(v: Mapping[str, Any]) -> conv2d.ConvTile:
    """The tile of a point."""
    count, axis = threads_of(v)
    rows, resident = v["weights"]
    return conv2d.ConvTile(Tile(v["oc"], v["h"], v["w"], count, axis), v["ic"], rows, resident)


def conv_chunks(cfg: Config, spec: conv2d.ConvSpec, tile: conv2d.ConvTile) -> int:
    """How many chunks of the reduction the program works on, over all tiles."""
    ob, cb = ceil_div(spec.oc, cfg.block_out), conv2d.reduction_blocks(cfg, spec)
    tiles = ceil_div(spec.n, cfg.batch) * (ob // tile.out.oc)
    tiles *= ceil_div(spec.oh, tile.out.h) * ceil_div(spec.ow, tile.out.w)
    return tiles * (cb // tile.ic) * ((1 if spec.patch else spec.kh) // tile.kh)


@lru_cache(maxsize=256)
def _default_chunks(cfg: Config, spec: conv2d.ConvSpec) -> int:
    return conv_chunks(cfg, spec, conv2d.choose_tile(cfg, spec))


# ------------------------------------------------------------------------------------------------ pooling, addition


def pool_tile(knobs: Knobs, cfg: Config, spec: pool.PoolSpec) -> Tile:
    """The tile of a pooling group."""
    tile = _tile_knobs(knobs, ceil_div(spec.c, cfg.block_out), spec.oh, spec.ow)
    _outputs_fit(knobs, cfg, 1)

    def aux_fits(v: Mapping[str, Any]) -> bool:
        count, axis = threads_of(v)
        ih, iw = (v["h"] - 1) * spec.strides[0] + spec.kh, (v["w"] - 1) * spec.strides[1] + spec.kw
        params = 0 if spec.quant is None else v["oc"] * (count if axis == "oc" else 1) * cfg.param_vectors
        return count * v["oc"] * ih * iw + params <= cfg.aux_depth

    knobs.require("inputs and parameters fit the aux buffer", aux_fits)
    return tile


def add_tile(knobs: Knobs, cfg: Config, spec: add.AddSpec) -> Tile:
    """The tile of an addition."""
    tile = _tile_knobs(knobs, ceil_div(spec.c, cfg.block_out), spec.h, spec.w)
    _outputs_fit(knobs, cfg, 1)
    knobs.require(
        "both operands fit the aux buffer",
        lambda v: v["threads"][0] * 2 * v["oc"] * v["h"] * v["w"] + cfg.param_vectors <= cfg.aux_depth,
    )
    return tile


# ------------------------------------------------------------------------------------------------ all of them


def tile_of(knobs: Knobs, cfg: Config, spec: Spec) -> AnyTile:
    """The tile that the knobs say."""
    if isinstance(spec, conv2d.ConvSpec):
        return conv_tile(knobs, cfg, spec)
    if isinstance(spec, pool.PoolSpec):
        return pool_tile(knobs, cfg, spec)
    return add_tile(knobs, cfg, spec)


def schedule(knobs: Knobs, cfg: Config, spec: Spec) -> tuple[te.Schedule, list[te.Tensor]]:
    """The template of an operator: its schedule and arguments."""
    return build(cfg, spec, tile_of(knobs, cfg, spec))


def build(cfg: Config, spec: Spec, tile: AnyTile) -> tuple[te.Schedule, list[te.Tensor]]:
    """The schedule and arguments of an operator with a tile of its kind."""
    if isinstance(spec, conv2d.ConvSpec):
        assert isinstance(tile, conv2d.ConvTile)
        return conv2d.build(cfg, spec, tile)
    assert isinstance(tile, Tile)
    return pool.build(cfg, spec, tile) if isinstance(spec, pool.PoolSpec) else add.build(cfg, spec, tile)


def space_of(cfg: Config, spec: Spec) -> ConfigSpace:
    """The operator's space on a machine."""
    return declare(tile_of, cfg, spec)


def knobs_of(tile: AnyTile) -> dict[str, Any]:
    """The knobs' values of a tile."""
    out = tile.out if isinstance(tile, conv2d.ConvTile) else tile
    values: dict[str, Any] = {"threads": (out.threads, out.axis), "oc": out.oc, "h": out.h, "w": out.w}
    if isinstance(tile, conv2d.ConvTile):
        values |= {"ic": tile.ic, "weights": (tile.kh, tile.resident)}
    return values


def default_point(cfg: Config, spec: Spec, space: ConfigSpace) -> ConfigEntity:
    """What the compiler chooses without tuning.  Raises CapacityError when nothing fits."""
    if isinstance(spec, conv2d.ConvSpec):
        return space.find(knobs_of(conv2d.choose_tile(cfg, spec)))
    chosen = pool.choose_tile(cfg, spec) if isinstance(spec, pool.PoolSpec) else add.choose_tile(cfg, spec)
    return space.find(knobs_of(chosen))


def workload(spec: Spec) -> str:
    """The operator as text, without what does not move its time: zero points, clipping and padding values."""
    if isinstance(spec, conv2d.ConvSpec):
        kind = "depthwise" if spec.depthwise else "image_conv2d" if spec.patch else "conv2d"
        added = "" if spec.add is None else f", add={'first' if spec.add.first else 'second'}"
        sizes = f"n={spec.n}, ic={spec.ic}, h={spec.h}, w={spec.w}, oc={spec.oc}, kernel={spec.kh}x{spec.kw}"
        return f"{kind}({sizes}, strides={_text(spec.strides)}, pads={_text(spec.pads)}{added})"
    if isinstance(spec, pool.PoolSpec):
        sizes = f"n={spec.n}, c={spec.c}, h={spec.h}, w={spec.w}, kernel={spec.kh}x{spec.kw}"
        return f"{spec.kind}_pool2d({sizes}, strides={_text(spec.strides)}, pads={_text(spec.pads)})"
    order = "first" if spec.add.first else "second"
    return f"add(n={spec.n}, c={spec.c}, h={spec.h}, w={spec.w}, {order})"


def _text(numbers: tuple[int, ...]) -> str:
    return ":".join(map(str, numbers))
