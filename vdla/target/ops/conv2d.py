"""Two-dimensional convolution and dense layers, with requantisation and residual addition fused behind.

The convolution is a GEMM over (input block, ky, kx).  One tile of accumulators stays in place while weights and inputs
stream through their buffers, chunk by chunk of the reduction; the pixels of the tile are the innermost loops, so that
no accumulator is needed twice in a row.  A dense layer is the convolution whose kernel covers the whole input.

An image with few channels takes the patch form: the DMA gathers each output's whole receptive field (ky, kx, channel)
into consecutive lanes, and the reduction is over blocks of that, so that 3 channels do not waste 13 of 16 lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from compiler import te
from compiler.ir import Expr, IntImm, logical_and, select
from hw.config import Config
from vdla.target import intrinsics
from vdla.target.emit import ALTERNATE_PRAGMA, DMA_PRAGMA
from vdla.target.errors import CapacityError
from vdla.target.layout import ceil_div, packed_shape
from vdla.target.ops.common import (
    Requantization,
    ResidualAdd,
    Stages,
    Tile,
    TileLoops,
    attach,
    divisors,
    output_copy,
    padded_input,
    requantize_stage,
    residual_stages,
    tile_sizes,
)  # fmt: skip
from vdla.target.ops.template import Template


@dataclass(frozen=True)
class ConvSpec:
    """A convolution group: logical sizes, and the integer arithmetic behind it.

    ``quant``: requantisation of the accumulators.  ``add``: residual addition behind it, or None.
    ``patch``: the input lies as an image with its padding in place.  ``depthwise``: every channel has its own kernel
    and output (``ic == oc``).
    """

    n: int
    ic: int
    h: int
    w: int
    oc: int
    kh: int
    kw: int
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    pad_value: int
    quant: Requantization
    add: ResidualAdd | None = None
    patch: bool = False
    depthwise: bool = False

    @property
    def oh(self) -> int:
        return (self.h + self.pads[0] + self.pads[2] - self.kh) // self.strides[0] + 1

    @property
    def ow(self) -> int:
        return (self.w + self.pads[1] + self.pads[3] - self.kw) // self.strides[1] + 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layer as the model states it."""
        return self.n * self.oc * self.oh * self.ow * (1 if self.depthwise else self.ic) * self.kh * self.kw


@dataclass(frozen=True)
class ConvTile:
    """Knobs of the schedule: the output tile, the reduction's chunk (``ic`` input blocks for inputs, ``kh`` kernel rows
    for weights) and whether the weights of an output-channel slice stay in their buffer for all its tiles."""

    out: Tile
    ic: int
    kh: int
    resident: bool = False


def reduction_blocks(cfg: Config, spec: ConvSpec) -> int:
    """Input blocks of the reduction (depthwise: those that hold the channels of one output block)."""
    if spec.depthwise:
        return cfg.block_out // cfg.block_in
    if spec.patch:
        return ceil_div(spec.ic * spec.kh * spec.kw, cfg.block_in)
    return ceil_div(spec.ic, cfg.block_in)


def window(spec: ConvSpec, h: int, w: int) -> tuple[int, int]:
    """Input rows and columns under an output tile (patches: the tile itself)."""
    if spec.patch:
        return h, w
    return (h - 1) * spec.strides[0] + spec.kh, (w - 1) * spec.strides[1] + spec.kw


def _input_stage(cfg: Config, spec: ConvSpec) -> tuple[te.Tensor, te.Tensor]:
    """The DRAM input and the stage in the input buffer."""
    nb, bi = ceil_div(spec.n, cfg.batch), cfg.block_in
    top, left, bottom, right = spec.pads
    if spec.patch:
        row = (spec.w + left + right) * spec.ic
        a = te.placeholder((spec.n, spec.h + top + bottom, row), "int8", "data")
        span = spec.kw * spec.ic
        size = spec.kh * span
        (sh, sw), step = spec.strides, spec.ic

        def patch(i: Expr, y: Expr, x: Expr, kb: Expr, b: Expr, k: Expr) -> Expr:
            at, image = kb * bi + k, i * cfg.batch + b
            value = a[image, y * sh + at // span, x * (sw * step) + at % span]
            inside = [at < size] if size % bi else []
            if spec.n % cfg.batch:
                inside.append(image < spec.n)
            return select(logical_and(*inside), value, IntImm(0, "int8")) if inside else value

        return a, te.compute((nb, spec.oh, spec.ow, ceil_div(size, bi), cfg.batch, bi), patch, name="patches")
    a = te.placeholder(packed_shape(cfg, spec.n, spec.ic, spec.h, spec.w), "int8", "data")
    blocks = reduction_blocks(cfg, spec)
    if spec.depthwise:
        blocks *= ceil_div(spec.oc, cfg.block_out)
    return a, padded_input(a, bi, blocks, spec.pads, spec.pad_value, "input")


def build(cfg: Config, spec: ConvSpec, tile: ConvTile) -> tuple[te.Schedule, list[te.Tensor]]:
    """The scheduled group and its arguments: data, weights, params [, residual, its params], output."""
    nb, bo, bi = ceil_div(spec.n, cfg.batch), cfg.block_out, cfg.block_in
    ob, cb = ceil_div(spec.oc, bo), reduction_blocks(cfg, spec)
    a, inp = _input_stage(cfg, spec)
    params = te.placeholder((ob, bo, 2), "int32", "params")
    k = te.reduce_axis(bi, "k")
    rc = te.reduce_axis(cb, "rc")
    shape = (nb, ob, spec.oh, spec.ow, cfg.batch, bo)
    taps: list[te.IterVar] = []
    if spec.patch:
        w = te.placeholder((ob, cb, bo, bi), "int8", "weights")
        acc = te.compute(
            shape,
            lambda i, oc, y, x, b, o: te.sum(
                inp[i, y, x, rc, b, k].astype("int32") * w[oc, rc, o, k].astype("int32"), axis=[rc, k]
            ),
            name="conv",
        )
    else:
        ry, rx = te.reduce_axis(spec.kh, "ry"), te.reduce_axis(spec.kw, "rx")
        taps = [ry, rx]
        w = te.placeholder((ob, cb, spec.kh, spec.kw, bo, bi), "int8", "weights")
        sh, sw = spec.strides

        def block(oc: Expr) -> Expr:
            return oc * cb + rc if spec.depthwise else rc

        acc = te.compute(
            shape,
            lambda i, oc, y, x, b, o: te.sum(
                inp[i, block(oc), y * sh + ry, x * sw + rx, b, k].astype("int32")
                * w[oc, rc, ry, rx, o, k].astype("int32"),
                axis=[rc, ry, rx, k],
            ),
            name="conv",
        )
    stages = Stages()
    args = [a, w, params]
    if spec.add is None:
        result = requantize_stage(cfg, stages, acc, params, spec.quant, True, "requantized")
    else:
        inner = requantize_stage(cfg, stages, acc, params, spec.quant, False, "requantized")
        other = te.placeholder(packed_shape(cfg, spec.n, spec.oc, spec.oh, spec.ow), "int8", "other")
        add_params = te.placeholder((1, bo, 2), "int32", "add_params")
        result = residual_stages(cfg, stages, inner, other, spec.add, add_params)
        args += [other, add_params]
    out = output_copy(cfg, result, spec.oc)
    args.append(out)

    s = te.create_schedule(out)
    loops = TileLoops(cfg, s, out, tile.out)
    attach(cfg, s, stages, loops, out)
    conv = s[acc]
    conv.set_scope("acc")
    conv.compute_at(s[out], loops.inner)
    i, oc, y, x, b, o = conv.op.axis
    rc_out, rc_in = conv.split(conv.op.reduce_axis[0], factor=tile.ic)
    if taps:
        ry_out, ry_in = conv.split(conv.op.reduce_axis[1], factor=tile.kh)
        conv.reorder(i, rc_out, ry_out, rc_in, ry_in, conv.op.reduce_axis[2], oc, y, x, b, o, conv.op.reduce_axis[3])
        weights_at = ry_out
    else:
        conv.reorder(i, rc_out, rc_in, oc, y, x, b, o, conv.op.reduce_axis[1])
        weights_at = rc_out
    conv.tensorize(b, intrinsics.gemm(cfg))
    cached = s.cache_read(w, "wgt", [acc])
    if tile.resident:
        s[cached].compute_at(s[out], loops.outer)
    else:
        s[cached].compute_at(conv, weights_at)
        # What the threads share is not doubled by them; two places of its own hide its latency.
        if tile.out.threads > 1 and tile.out.axis == "h":
            s[cached].pragma(s[cached].op.axis[0], ALTERNATE_PRAGMA, True)
    s[cached].pragma(s[cached].op.axis[0], DMA_PRAGMA, True)
    s[inp].set_scope("inp")
    s[inp].compute_at(conv, rc_out)
    if tile.out.threads > 1 and tile.out.axis == "oc":
        s[inp].pragma(s[inp].op.axis[0], ALTERNATE_PRAGMA, True)
    s[inp].pragma(s[inp].op.axis[0], DMA_PRAGMA, True)
    return s, args


# ------------------------------------------------------------------------------------------------ tiles


@dataclass(frozen=True)
class Estimate:
    """A tile that fits the buffers, and the cycles it is expected to take."""

    cycles: float
    tile: ConvTile


def _patch_load(cfg: Config, spec: ConvSpec, blocks: int, cb: int) -> float:
    """Cycles to load one pixel's share of a chunk of ``blocks`` of the patch's ``cb``: short runs of any alignment."""
    run, bus = spec.kw * spec.ic, cfg.bus_bytes
    runs = spec.kh if blocks == cb else blocks * cfg.block_in / run + 1
    beats = (min(run, blocks * cfg.block_in) - 1) / bus + 1
    return cfg.batch * runs * max(beats, (cfg.memory.read_latency + 4) / cfg.memory.read_outstanding)


def candidates(cfg: Config, spec: ConvSpec, threads: int) -> list[Estimate]:
    """Every tile that fits the buffers, with its estimated cycles.

    The model: the array works on one virtual thread's chunk while the other's loads run, so a load is exposed only
    where it takes longer, latency included, than the time until its data is needed.
    """
    ob, cb = ceil_div(spec.oc, cfg.block_out), reduction_blocks(cfg, spec)
    nb = ceil_div(spec.n, cfg.batch)
    kh, kw = (1, 1) if spec.patch else (spec.kh, spec.kw)
    bus, latency = cfg.bus_bytes, cfg.memory.read_latency + 24
    inp_cycles, wgt_cycles = cfg.inp_vector_bytes / bus, cfg.wgt_vector_bytes / bus
    out_cycles = cfg.out_vector_bytes / bus
    passes = 1 if spec.add is None else 3 + (not spec.add.first)
    accs = 2 if spec.add is not None and not spec.add.first else 1
    out: list[Estimate] = []
    splits = [("h", 1)] if threads == 1 else [("h", threads), ("oc", threads), ("h", 1)]
    if spec.depthwise:  # no input is shared between output blocks
        splits = [split for split in splits if split[0] == "h"]
    for axis, count in splits:
        for oc in divisors(ob):
            if axis == "oc" and (ob // oc) % count:
                continue
            slice_oc = oc * (count if axis == "oc" else 1)
            for h, w in product(tile_sizes(spec.oh), tile_sizes(spec.ow)):
                rows, columns = ceil_div(spec.oh, h), ceil_div(spec.ow, w)
                pixels = h * w
                if (axis == "h" and rows % count) or count * oc * pixels > min(cfg.acc_depth // accs, cfg.out_depth):
                    continue
                aux = slice_oc * cfg.param_vectors
                if spec.add is not None:
                    aux += count * oc * pixels + cfg.param_vectors
                if aux > cfg.aux_depth:
                    continue
                ih, iw = window(spec, h, w)
                groups = nb * (ob // oc) * rows * columns // count  # tiles of all threads together
                vector = passes * oc * pixels + oc * cfg.param_vectors + 14
                stored = oc * pixels * out_cycles
                for ic in [cb] if spec.depthwise else divisors(cb):
                    inputs = ih * iw * ic * (oc if spec.depthwise else 1)
                    if count * inputs > cfg.inp_depth:
                        continue
                    if spec.patch:
                        load_input = pixels * _patch_load(cfg, spec, ic, cb)
                    else:
                        run = min(ih * iw if iw >= spec.w else iw, cfg.burst_beats * bus // cfg.inp_vector_bytes)
                        load_input = inputs * inp_cycles * (1 + 1 / max(run * inp_cycles, 1))
                    for rows_k, resident in [(r, False) for r in divisors(kh)] + [(kh, True)]:
                        slice_tiles = slice_oc * cb * kh * kw
                        chunk_tiles = oc * ic * rows_k * kw
                        if (slice_tiles if resident else count * chunk_tiles) > cfg.wgt_depth:
                            continue
                        steps = kh // rows_k
                        chunk = pixels * chunk_tiles * max(1.0, 4 / (pixels * oc))
                        shared = axis == "h"
                        load_weights = 0.0 if resident else chunk_tiles * wgt_cycles
                        moved = (count if shared else 1) * load_input
                        moved += (1 if shared else count) * steps * load_weights
                        busy = count * steps * chunk
                        if count == 1:
                            exposed = load_input + steps * (load_weights + latency)
                        elif shared:
                            exposed = count * max(0.0, latency + load_input - chunk)
                            exposed += steps * max(0.0, latency + load_weights - count * chunk)
                        else:
                            exposed = max(0.0, latency + load_input - count * steps * chunk)
                            exposed += count * steps * max(0.0, latency + load_weights - chunk)
                        each = (cb // ic) * max(busy + exposed, moved) + count * vector
                        if spec.add is not None:
                            each = max(each, (cb // ic) * moved + 2 * count * stored)
                        total = groups * max(each, count * stored)
                        if resident:
                            total += (ob // slice_oc) * (slice_tiles * wgt_cycles * 0.8 + latency)
                        total += load_input + min(chunk_tiles, slice_tiles) * wgt_cycles + vector + stored
                        total += groups * count * (cb // ic) * (steps + 2 * ih / 16)  # instructions
                        out.append(Estimate(total, ConvTile(Tile(oc, h, w, count, axis), ic, rows_k, resident)))
    return out


def choose_tile(cfg: Config, spec: ConvSpec, virtual_threads: bool = True) -> ConvTile:
    """The tile with the least estimated cycles.

    Raises CapacityError when not even the smallest tile fits, saying what it needs.
    """
    found = candidates(cfg, spec, 2 if virtual_threads else 1)
    if not found:
        kw = 1 if spec.patch else spec.kw
        ih, iw = window(spec, 1, 1)
        blocks = reduction_blocks(cfg, spec) if spec.depthwise else 1
        needs = {
            "inp": ih * iw * blocks * cfg.inp_vector_bytes,
            "wgt": kw * blocks * cfg.wgt_vector_bytes,
            "aux": (cfg.param_vectors * (1 if spec.add is None else 2) + (spec.add is not None)) * cfg.aux_vector_bytes,
        }
        short = [f"{n} bytes of the {s} buffer (vdla.{s}_buffer is {getattr(cfg, s + '_buffer')})"
                 for s, n in needs.items() if n > getattr(cfg, f"{s}_buffer")]  # fmt: skip
        raise CapacityError(
            f"a {spec.kh}x{spec.kw} convolution of {spec.ic} into {spec.oc} channels needs at least "
            + " and ".join(short or ["more buffer than there is"])
        )
    return min(found, key=lambda e: e.cycles).tile


TEMPLATE = Template[ConvSpec, ConvTile](
    build, choose_tile, lambda spec: f"conv2d_{spec.ic}x{spec.h}x{spec.w}_{spec.oc}_k{spec.kh}x{spec.kw}"
)
