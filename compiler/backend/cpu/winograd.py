"""Winograd's minimal filtering for 3 x 3 windows of stride 1, F(m x m, 3 x 3), on channels in blocks.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015: a tile of m x m outputs needs (m + 2)^2
products where the direct sum needs 9 m^2. Transformed inputs V and weights U are multiplied as (m + 2)^2 independent
matrix products; weights are transformed when the network is compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from compiler.backend.cpu.convolution import LANES, Tile, load_vectors, tiles_to_try
from compiler.backend.cpu.direct import CODE_SIZE, in_registers
from compiler.backend.cpu.nest import Nest
from compiler.backend.cpu.parallel import parallelize
from compiler.backend.cpu.processor import Processor
from compiler.ir import Expr, as_expr, const, eq, logical_and, select
from compiler.ops.compute import PADDING, constant
from compiler.ops.registry import Attrs
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum
from compiler.tune.space import Knobs, Values

WINOGRAD = "cpu.winograd"


@dataclass(frozen=True)
class Transform:
    """F(m x m, 3 x 3): inputs B^T d B, weights G g G^T, outputs A^T y A; the matrices are B^T, G and A^T."""

    m: int
    input: tuple[tuple[float, ...], ...]
    weight: tuple[tuple[float, ...], ...]
    output: tuple[tuple[float, ...], ...]

    @property
    def name(self) -> str:
        """As it is written."""
        return f"F({self.m}x{self.m})"

    @property
    def alpha(self) -> int:
        """Edge of a transformed tile."""
        return self.m + 2

    def weights(self, w: np.ndarray, block_in: int, block_out: int) -> np.ndarray:
        """w [O,C,3,3] transformed, float32 [alpha^2, O/block_out, C/block_in, block_in, block_out]."""
        g = np.array(self.weight)
        outer = np.kron(g, g)  # G g G^T as one product with the window's nine weights
        o, c = w.shape[:2]
        u = np.empty((self.alpha**2, o // block_out, c * block_out), np.float32)
        for block in range(o // block_out):  # one at a time: it stays in the processor's cache
            part = w[block * block_out : (block + 1) * block_out].reshape(block_out, c, 9)
            u[:, block] = outer @ part.transpose(2, 1, 0).reshape(9, -1).astype(np.float64)
        return u.reshape(self.alpha**2, o // block_out, c // block_in, block_in, block_out)


F2 = Transform(
    2,
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    ((1, 1, 1, 0), (0, 1, -1, -1)),
)
F4 = Transform(
    4,
    (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
)


def applies(kernel: Sequence[int], attrs: Attrs) -> bool:
    """Whether a convolution has the form that the transforms are for."""
    return tuple(kernel) == (3, 3) and attrs["strides"] == attrs["dilations"] == (1, 1) and attrs["groups"] == 1


def algorithms(x: Sequence[int], shape: Sequence[int], processor: Processor) -> list[Transform | None]:
    """The transforms for x [N,C,H,W] -> `shape` [N,O,H',W'] and None, the direct sum; the one expected to be fastest
    first."""
    return sorted((None, F2, F4), key=lambda transform: _cycles(transform, x, shape, processor))


def _cycles(transform: Transform | None, x: Sequence[int], shape: Sequence[int], processor: Processor) -> float:
    n, channels, _, _ = x
    _, outputs, height, width = shape
    if transform is None:
        macs = math.prod(shape) * channels * 9
        weights = 4 * 9 * channels * outputs
        return _with_weights(1.15 * macs / processor.macs_per_cycle, weights, processor)
    tiles = n * -(-height // transform.m) * -(-width // transform.m)
    points = transform.alpha**2
    macs = points * tiles * channels * outputs
    moved = 4 * points * tiles * (channels + outputs)
    weights = 4 * points * channels * outputs
    return _with_weights(1.15 * macs / processor.macs_per_cycle, weights, processor) + moved / 5


def _with_weights(products: float, weights: int, processor: Processor) -> float:
    """Cycles of products and of bringing in weights that the second cache does not keep from one inference to the next:
    both at once where the weights are asked for ahead."""
    stream = (
        weights / (4 * processor.stream_bytes_per_cycle)
        + max(0, weights - (4 << 20)) / processor.stream_bytes_per_cycle
    )
    return max(products, stream) if processor.fetches_ahead else products + stream


def winograd_conv2d(
    inputs: Sequence[Tensor], weight: np.ndarray, attrs: Attrs, shape: Sequence[int], transform: Transform
) -> Tensor:
    """3 x 3 convolution of stride 1.

    Args:
        inputs: x [N,C/b,H,W,b], the weight (unused: `weight` is transformed instead), perhaps a bias [O].
        weight: [O,C,3,3].
        shape: of the output, [N,O/v,H',W',v].
    """
    x = inputs[0]
    n, blocks, height, width, lanes = shape
    m, alpha = transform.m, transform.alpha
    rows, columns = -(-height // m), -(-width // m)
    top, left, _, _ = attrs["pads"]
    u = constant(_transformed(transform, _Same(weight), x.shape[4], lanes), "transformed")

    def pixel(n: Expr, c: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        inside = logical_and(h >= top, h < top + x.shape[2], w >= left, w < left + x.shape[3])
        return select(inside, x[n, c, h - top, w - left, lane], float(attrs["pad_value"]))

    extent = (n, x.shape[1], rows * m + 2, columns * m + 2, x.shape[4])
    source = compute(extent, pixel, f"{x.name}_padded", tag=PADDING)
    tiles = n * rows * columns

    def half_input(c: Expr, t: Expr, i: Expr, k: Expr, lane: Expr) -> Expr:
        h, w = t // columns % rows * m, t % columns * m
        return _combine(transform.input, i, lambda r: source[t // (rows * columns), c, h + r, w + k, lane])

    half_v = compute((x.shape[1], tiles, alpha, alpha, x.shape[4]), half_input, "input_rows")

    def whole_input(a: Expr, c: Expr, t: Expr, lane: Expr) -> Expr:
        return _combine(transform.input, a % alpha, lambda r: half_v[c, t, a // alpha, r, lane])

    v = compute((alpha * alpha, x.shape[1], tiles, x.shape[4]), whole_input, "input_transform")
    rc, ri = reduce_axis(x.shape[1], "rc"), reduce_axis(x.shape[4], "ri")

    def product(a: Expr, o: Expr, t: Expr, lane: Expr) -> Expr:
        return te_sum(v[a, rc, t, ri] * u[a, o, rc, ri, lane], axis=(rc, ri))

    products = compute((alpha * alpha, blocks, tiles, lanes), product, "products")

    def half_output(o: Expr, t: Expr, i: Expr, k: Expr, lane: Expr) -> Expr:
        return _combine(transform.output, i, lambda r: products[r * alpha + k, o, t, lane])

    half_y = compute((blocks, tiles, m, alpha, lanes), half_output, "output_rows")

    def whole_output(n: Expr, o: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        tile = (n * rows + h // m) * columns + w // m
        return _combine(transform.output, w % m, lambda r: half_y[o, tile, h % m, r, lane])

    result = compute(shape, whole_output, "winograd", tag=WINOGRAD)
    if len(inputs) == 2:
        return result
    return compute(shape, lambda n, o, h, w, k: result[n, o, h, w, k] + inputs[2][o * lanes + k], "conv2d_bias")


class _Same:
    """An array that is equal to itself alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.array is self.array

    def __hash__(self) -> int:
        return id(self.array)


@lru_cache(maxsize=2)
def _transformed(transform: Transform, weight: _Same, block_in: int, block_out: int) -> np.ndarray:
    """The transformed weights; kept, since tuning asks for the same ones with every schedule."""
    return transform.weights(weight.array, block_in, block_out)


def _combine(matrix: Sequence[Sequence[float]], row: Expr, element: Callable[[int], Expr]) -> Expr:
    """Row `row` of `matrix` times the elements, zeros left out; `row` is decided when its loop is unrolled."""
    result: Expr | None = None
    for index, factors in enumerate(matrix):
        total: Expr | None = None
        for position, factor in enumerate(factors):
            if factor:
                term = element(position)
                if factor == -1 and total is not None:
                    total = total - term
                    continue
                term = term if factor == 1 else term * const(float(factor), "float32")
                total = term if total is None else total + term
        assert total is not None
        result = total if result is None else select(eq(row, index), total, result)
    return as_expr(result)  # pyright: ignore[reportArgumentType]


def schedule_winograd(schedule: Schedule, anchor: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """Three parallel passes: transform tiles, multiply, transform back with the group's epilogue."""
    if anchor is not out:
        anchor.compute_inline()
    half_y = _reads(schedule, anchor, "output_rows")
    products = _reads(schedule, half_y, "products")
    v = _reads(schedule, products, "input_transform")
    half_v = _reads(schedule, v, "input_rows")
    source = _reads(schedule, half_v, "padded")
    accumulators = schedule[schedule.cache_write(products.tensor, "local")]
    m = half_y.tensor.shape[2]

    n, o, h, w, lane = _axes(out)
    ho, hi = out.split(h, factor=m)
    wo, wi = out.split(w, factor=m)
    out.reorder(n, o, ho, wo, hi, wi, lane)
    in_registers(out, [hi, wi], lane)
    half_y.compute_at(out, wo)
    _, _, yi, yk, ylane = _axes(half_y)
    in_registers(half_y, [yi, yk], ylane)
    outward = knobs.choice("output order", ("channels", "rows"))
    if outward == "rows":
        out.reorder(n, ho, o)
    parallelize(out, [n, o, ho] if outward == "channels" else [n, ho, o])

    a, po, t, plane = _axes(products)
    blocks, tiles = po.extent, t.extent
    fitting = tiles_to_try(blocks, 1, tiles, processor)

    def sizes(at: Values) -> Mapping[str, int]:
        return {"o": blocks // at["tile"][0], "t": tiles // at["tile"][2]}

    tile = Tile(*knobs.choice("tile", [(f.vectors, f.rows, f.columns) for f in fitting]))
    nest = Nest.ask(knobs, sizes, ("ot", "to"))
    rc, ri = accumulators.op.reduce_axis
    unrolls = (LANES, 1, 2) if processor.by_lane else (1, 2, 4, 8)
    unroll = knobs.choice("unroll", [u for u in unrolls if ri.extent % u == 0])
    knobs.require("unrolled code is short", lambda at: math.prod(at["tile"]) * at["unroll"] <= CODE_SIZE)
    oo, oi = products.split(po, factor=tile.vectors)
    to, ti = products.split(t, factor=tile.columns)
    loops = nest.arrange(products, {"o": oo, "t": to})
    products.reorder(a, *loops, ti, oi, plane)
    in_registers(products, (ti, oi), plane)
    accumulators.compute_at(products, nest.parallelize(products, a, loops, len(loops) - 1))
    _, ao, at, alane = _axes(accumulators)
    step, written = accumulators.split(ri, factor=unroll)
    accumulators.unroll(written)
    accumulators.reorder(rc, step, written, at, ao, alane)
    in_registers(accumulators, (at, ao), alane)
    if processor.by_lane and unroll == LANES:
        load_vectors(schedule, v.tensor, accumulators, rc)

    va, vc, vt, vlane = _axes(v)
    columns = -(-out.tensor.shape[3] // m)
    vo, vi = v.split(vt, factor=columns)
    v.reorder(vc, vo, vi, va, vlane)
    in_registers(v, [va], vlane)
    half_v.compute_at(v, vi)
    _, _, hi_, hk, hlane = _axes(half_v)
    in_registers(half_v, [hi_, hk], hlane)
    source.compute_at(v, vi)
    _, _, sh, sw, slane = _axes(source)
    in_registers(source, [sh, sw], slane)
    inward = knobs.choice("input order", ("channels", "rows"))
    if inward == "rows":
        v.reorder(vo, vc)
    parallelize(v, [vc, vo] if inward == "channels" else [vo, vc])


def _axes(stage: Stage):
    assert isinstance(stage.op, ComputeOp)
    return stage.op.axis


def _reads(schedule: Schedule, stage: Stage, name: str) -> Stage:
    """The stage of that name which `stage` reads."""
    return next(schedule[t] for t in stage.op.inputs if name in t.name)
