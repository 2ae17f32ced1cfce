"""Transposed convolution by phases: outputs whose positions agree modulo the stride meet the same part of the window.

Each phase is a direct convolution of stride 1 over its part of the window, which multiplies no zeros between the
elements of the input (sub-pixel convolution). Its tiles are a convolution's; weights are packed a phase at compile
time. Few output channels would leave most of a vector empty: their phases lie in the vector beside them instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compiler.backend.cpu.convolution import Tile, schedule_padding, tile_of, tileable
from compiler.backend.cpu.parallel import TASKS, parallelize
from compiler.backend.cpu.processor import Processor
from compiler.ir import Expr, const, logical_and, select
from compiler.ops.compute import constant
from compiler.ops.compute.indexing import padded
from compiler.ops.registry import Attrs
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar, Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum
from compiler.tune.space import Knobs

#: the tag of a stage that sums some phases
PHASES = "cpu.phases"


@dataclass(frozen=True)
class _Axis:
    """One spatial axis. Output p of phase r = (p + pad) % stride takes, for every tap j, weight r + j * stride and
    input (p + pad) // stride - j."""

    stride: int
    pad: int
    kernel: int
    size: int
    extent: int

    @staticmethod
    def of(attrs: Attrs, x: Sequence[int], kernel: Sequence[int], axis: int) -> _Axis:
        stride, pad, extent = attrs["strides"][axis], attrs["pads"][axis], attrs["shape"][axis]
        if x[axis] == 1:  # nothing else to meet at any distance: every output is a phase, of one tap
            stride = max(kernel[axis], pad + extent)
        return _Axis(stride, pad, kernel[axis], x[axis], extent)

    @property
    def count(self) -> int:
        """Outputs of a phase."""
        return -(-self.extent // self.stride)

    def classes(self) -> list[_Part]:
        """The phases by their number of taps."""
        first, behind = 0, self.stride
        if self.pad + self.extent <= self.stride:  # no output of the others
            first, behind = self.pad, self.pad + self.extent
        whole, rest = divmod(self.kernel, self.stride)
        limits = (first, max(first, min(rest, behind)), behind)
        parts = [_Part(a, b, taps, self) for a, b, taps in zip(limits, limits[1:], (whole + 1, whole), strict=False)]
        return [part for part in parts if part.first < part.behind]

    def together(self) -> _Part:
        """All phases as one, which begins at the first output."""
        return _Part(0, self.stride, -(-self.kernel // self.stride), self)


@dataclass(frozen=True)
class _Part:
    """The phases `first` ... `behind` - 1 of an axis, of `taps` taps each."""

    first: int
    behind: int
    taps: int
    axis: _Axis

    @property
    def phases(self) -> int:
        return self.behind - self.first

    def shift(self, phase: Expr) -> Expr:
        """(p + pad) // stride - p // stride of the outputs p of `phase`, counted from the first of the part."""
        return (self.axis.pad - self.first + self.axis.stride - 1 - phase) // self.axis.stride

    def reach(self, count: int) -> tuple[int, int]:
        """From where to where (exclusive) `count` outputs of every phase meet the input."""
        least, most = (
            (self.axis.pad - r + self.axis.stride - 1) // self.axis.stride for r in (self.behind - 1, self.first)
        )
        return least - (self.taps - 1), count + most

    def weights(self, w: np.ndarray, dimension: int) -> np.ndarray:
        """`w` with the window's `dimension` as (phase, tap), 0 behind its end."""
        taps = np.arange(self.first, self.behind)[:, None] + np.arange(self.taps) * self.axis.stride
        more = max(0, int(taps.max()) + 1 - w.shape[dimension])
        w = np.pad(w, [(0, more if d == dimension else 0) for d in range(w.ndim)])
        return np.take(w, taps, axis=dimension)


def transposed_conv2d(
    inputs: Sequence[Tensor], weight: np.ndarray, attrs: Attrs, shape: Sequence[int], processor: Processor
) -> Tensor:
    """Transposed convolution.

    Args:
        inputs: x [N,C/b,H,W,b] or [N,C,H,W]; the weight (unused: `weight` is packed instead); perhaps a bias [O].
        weight: [C,O,kh,kw].
        attrs: of the graph's conv_transpose.
        shape: of the output, [N,O/v,H',W',v], or [N,O,H',W'] for channels that fill no vectors.
    """
    x = inputs[0]
    rows, columns = (_Axis.of(attrs, x.shape[2:4], weight.shape[2:], axis) for axis in (0, 1))
    bias = inputs[2] if len(inputs) == 3 else None
    if len(shape) == 4:
        return _with_phases_beside_channels(x, weight, bias, rows, columns, shape, processor)
    parts = list(itertools.product(rows.classes(), columns.classes()))
    sums = _Sums(x, weight, [part for part in parts if part[0].taps and part[1].taps], shape, processor)
    tensors = {part: sums.of(*part) for part in sums.parts}

    def output(n: Expr, o: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        value: Expr = const(0.0, "float32")
        r, t = (h + rows.pad) % rows.stride, (w + columns.pad) % columns.stride
        for (row, column), tensor in tensors.items():
            here = tensor[n, o, r - row.first, t - column.first, h // rows.stride, w // columns.stride, lane]
            inside = logical_and(r >= row.first, r < row.behind, t >= column.first, t < column.behind)
            value = here if len(parts) == 1 else select(inside, here, value)
        return value if bias is None else value + bias[o * shape[4] + lane]

    return compute(shape, output, "conv_transpose")


def _with_phases_beside_channels(
    x: Tensor,
    weight: np.ndarray,
    bias: Tensor | None,
    rows: _Axis,
    columns: _Axis,
    shape: Sequence[int],
    processor: Processor,
) -> Tensor:
    """Phases and channels together are the channels of one convolution over all inputs that any phase meets."""
    n, channels, _, _ = shape
    lanes = processor.lanes
    row, column = rows.together(), columns.together()
    # [C,O,r,jh,t,jw] -> [C,(r,t,O),jh,jw]
    w = column.weights(row.weights(weight, 2), 4).transpose(0, 2, 4, 1, 3, 5)
    w = w.reshape(w.shape[0], -1, *w.shape[4:])
    blocks = -(-w.shape[1] // lanes)
    w = np.pad(w, [(0, 0), (0, blocks * lanes - w.shape[1]), (0, 0), (0, 0)])
    first = [axis.pad // axis.stride for axis in (rows, columns)]
    # As outputs of stride 1 and of one phase, which begins where the first output does.
    ones = [
        _Axis(1, begin, part.taps, axis.size, (axis.extent - 1 + axis.pad) // axis.stride + 1 - begin)
        for begin, part, axis in zip(first, (row, column), (rows, columns), strict=True)
    ]
    inner = (n, blocks, ones[0].extent, ones[1].extent, lanes)
    part = (ones[0].together(), ones[1].together())
    sums = _Sums(x, w, [part], inner, processor).of(*part)

    def output(n: Expr, o: Expr, h: Expr, w_: Expr) -> Expr:
        h, w_ = h + rows.pad, w_ + columns.pad
        channel = (h % rows.stride * columns.stride + w_ % columns.stride) * channels + o
        i, j = h // rows.stride - first[0], w_ // columns.stride - first[1]
        value = sums[n, channel // lanes, 0, 0, i, j, channel % lanes]
        return value if bias is None else value + bias[o]

    return compute(shape, output, "conv_transpose")


class _Sums:
    """The phases' outputs before a bias, from one padded copy of the input.

    A few more outputs than asked for are computed where those have no good tiles.
    """

    def __init__(
        self,
        x: Tensor,
        weight: np.ndarray,
        parts: Sequence[tuple[_Part, _Part]],
        shape: Sequence[int],
        processor: Processor,
    ) -> None:
        self.parts, self._weight = parts, weight
        self._n, self._blocks, _, _, self._lanes = shape
        counts = [part.axis.count for part in parts[0]] if parts else (1, 1)
        self._counts = tileable((*shape[:2], *counts, self._lanes), processor)
        self._before, after = [0, 0], [0, 0]
        for pair in parts:
            for d, (part, count) in enumerate(zip(pair, self._counts, strict=True)):
                low, high = part.reach(count)
                self._before[d] = max(self._before[d], -low)
                after[d] = max(after[d], high - x.shape[2 + d])
        rest = (0,) * (x.ndim - 4)
        around = (0, 0, *self._before, *rest), (0, 0, *after, *rest)
        self._source = padded(x, *around, 0) if any(self._before + after) else x

    def of(self, row: _Part, column: _Part) -> Tensor:
        """[N,O/v,r,t,i,j,v]: outputs (i, j) of the phases (r, t) of a part."""
        x, before = self._source, self._before
        table = constant(_packed(self._weight, row, column, x.shape[4] if x.ndim == 5 else 0, self._lanes), "weights")
        axes = [reduce_axis(x.shape[1], "rc"), reduce_axis(row.taps, "rh"), reduce_axis(column.taps, "rw")]
        axes += [reduce_axis(extent, "ri") for extent in x.shape[4:]]
        rc, rh, rw, *inner = axes

        def element(n: Expr, o: Expr, r: Expr, t: Expr, i: Expr, j: Expr, lane: Expr) -> Expr:
            h, w = i + row.shift(r) - rh + before[0], j + column.shift(t) - rw + before[1]
            return te_sum(x[(n, rc, h, w, *inner)] * table[(o, r, t, *axes, lane)], axis=axes)

        shape = (self._n, self._blocks, row.phases, column.phases, *self._counts, self._lanes)
        return compute(shape, element, "phases", tag=PHASES)


def _packed(weight: np.ndarray, row: _Part, column: _Part, block: int, lanes: int) -> np.ndarray:
    """[C,O,kh,kw] as [O/v,r,t,C/b,jh,jw,b,v], in the order in which it is read; without b for block 0."""
    w = column.weights(row.weights(weight, 2), 4)
    channels, outputs = w.shape[:2]
    w = w.reshape(channels // (block or 1), block or 1, outputs // lanes, lanes, *w.shape[2:])
    # C/b, b, O/v, v, r, jh, t, jw
    w = np.ascontiguousarray(w.transpose(2, 4, 6, 0, 5, 7, 1, 3))
    return w if block else w[..., 0, :]


def schedule_phases(schedule: Schedule, anchor: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """A phase at a time, tile by tile. Where all have one number of taps, `out` takes the tiles from the registers;
    else they are stored, and one pass puts them together."""
    schedule_padding(schedule)
    sums = [stage for stage in schedule.stages if isinstance(stage.op, ComputeOp) and stage.op.tag == PHASES]
    assert isinstance(out.op, ComputeOp) and isinstance(anchor.op, ComputeOp)
    tasks = knobs.choice("tasks", TASKS)
    *_, height, width, lanes = anchor.tensor.shape
    tile = tile_of(anchor.tensor.shape[1], height, width, processor, knobs)
    phases_outside = knobs.choice("order", ("phases", "rows")) == "phases"
    if len(sums) > 1 or out.tensor.ndim == 4:
        for stage in sums:
            n, o, r, t, i, j, lane = stage.op.axis
            local = schedule[schedule.cache_write(stage.tensor, "local")]
            _tiled(stage, local, (n, o, r, t, i, j, lane), tile, tasks, phases_outside)
        n, o, *rows, last = out.op.axis
        if out.tensor.ndim == 5 or last.extent % processor.lanes == 0:
            out.vectorize(last if out.tensor.ndim == 5 else out.split(last, factor=processor.lanes)[1])
        parallelize(out, [n, o, rows[0]], tasks)
        return
    n, o, h, w, lane = out.op.axis
    i, r = out.split(h, factor=anchor.tensor.shape[2])
    j, t = out.split(w, factor=anchor.tensor.shape[3])
    _tiled(out, anchor, (n, o, r, t, i, j, lane), tile, tasks, phases_outside)


def _tiled(out: Stage, sums: Stage, axes: Sequence[IterVar], tile: Tile, tasks: int, phases_outside: bool) -> None:
    """Compute `sums` in the registers of a tile of `out`, whose loops are those of an output by phases."""
    n, o, r, t, i, j, lane = axes
    oo, oi = out.split(o, factor=tile.vectors)
    io, ii = out.split(i, factor=tile.rows)
    jo, ji = out.split(j, factor=tile.columns)
    outer = (oo, r, t, io, jo) if phases_outside else (oo, io, r, t, jo)
    out.reorder(n, *outer, ii, ji, oi, lane)
    for axis in (ii, ji, oi):
        out.unroll(axis)
    out.vectorize(lane)
    sums.compute_at(out, jo)
    parallelize(out, [n, *outer[:-1]], tasks)
    assert isinstance(sums.op, ComputeOp)
    _, so, sr, st, si, sj, lane = sums.op.axis
    sums.reorder(sr, st, *sums.op.reduce_axis, si, sj, so, lane)
    for axis in (si, sj, so):
        sums.unroll(axis)
    sums.vectorize(lane)
