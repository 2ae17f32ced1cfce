"""Winograd's minimal filtering for 3 x 3 windows of stride 1, F(m x m, 3 x 3), on channels in blocks.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015: a tile of m x m outputs needs (m + 2)^2
products where the direct sum needs 9 m^2. Transformed inputs V and weights U are multiplied as (m + 2)^2 independent
matrix products; weights are transformed when the network is compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from compiler.backend.cpu.processor import Processor
from compiler.ir import Expr, as_expr, const, eq, logical_and, select, wrap_int
from compiler.ops.compute import PADDING, constant
from compiler.ops.registry import Attrs
from compiler.te.tensor import Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum

WINOGRAD = "cpu.winograd"
#: names of the stages, front to back
INPUT_ROWS, INPUT, PRODUCTS, OUTPUT_ROWS = "input_rows", "input_transform", "products", "output_rows"
# Of what a core reads from memory alone, how much it does beside another one; and how many times that from its cache.
_SHARED, _CACHED = 0.7, 4


@dataclass(frozen=True)
class Transform:
    """F(m x m, 3 x 3): inputs B^T d B, weights G g G^T, outputs A^T y A; the matrices are B^T, G and A^T.

    operand: the type of transformed inputs and weights. scale: how many times the convolution the outputs are, of
    matrices of integers.
    """

    m: int
    input: tuple[tuple[float, ...], ...]
    weight: tuple[tuple[float, ...], ...]
    output: tuple[tuple[float, ...], ...]
    scale: int = 1
    operand: str = "float32"

    @property
    def name(self) -> str:
        """As it is written."""
        return f"F({self.m}x{self.m})"

    @property
    def alpha(self) -> int:
        """Edge of a transformed tile."""
        return self.m + 2

    def weights(self, w: np.ndarray, block_in: int, block_out: int) -> np.ndarray:
        """w [O,C,3,3] transformed, [alpha^2, O/block_out, C/block_in, block_in, block_out] of `operand`."""
        g = np.array(self.weight)
        outer = np.kron(g, g)  # G g G^T as one product with the window's nine weights
        o, c = w.shape[:2]
        u = np.empty((self.alpha**2, o // block_out, c * block_out), self.operand)
        for block in range(o // block_out):  # one at a time: it stays in the processor's cache
            part = w[block * block_out : (block + 1) * block_out].reshape(block_out, c, 9)
            u[:, block] = outer @ part.transpose(2, 1, 0).reshape(9, -1).astype(np.float64)
        return u.reshape(self.alpha**2, o // block_out, c // block_in, block_in, block_out)

    def unscaled(self, y: Expr) -> Expr:
        """The convolution's sum of an output, int32 modulo 2^32, of which `scale` leaves it so many bits fewer: exact
        if it has no more. What is odd of the scale has an inverse modulo 2^32, a power of two is shifted out."""
        shift = (self.scale & -self.scale).bit_length() - 1
        odd = self.scale >> shift
        whole = y if odd == 1 else y * const(wrap_int(pow(odd, -1, 1 << 32), "int32"), "int32")
        return whole if shift == 0 else whole >> shift


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
    rate = processor.macs_per_cycle
    return sorted((None, F2, F4), key=lambda transform: cycles(transform, x, shape, processor, rate, 4))


def cycles(
    transform: Transform | None,
    x: Sequence[int],
    shape: Sequence[int],
    processor: Processor,
    macs_per_cycle: float,
    weight_bytes: int,
) -> float:
    """Those expected of a transform, or of the direct sum (None), for x [N,C,H,W] -> `shape` [N,O,H',W'].

    macs_per_cycle: with the operands that it takes. weight_bytes: of one of the direct sum's.
    """
    n, channels, _, _ = x
    _, outputs, height, width = shape
    if transform is None:
        macs = math.prod(shape) * channels * 9
        weights = weight_bytes * 9 * channels * outputs
        return _with_weights(1.15 * macs / macs_per_cycle, weights, processor)
    tiles = n * -(-height // transform.m) * -(-width // transform.m)
    points = transform.alpha**2
    macs = points * tiles * channels * outputs
    item = np.dtype(transform.operand).itemsize
    moved = points * tiles * (item * channels + 4 * outputs)
    weights = item * points * channels * outputs
    return _with_weights(1.15 * macs / macs_per_cycle, weights, processor) + moved / 5


def _with_weights(products: float, weights: int, processor: Processor) -> float:
    """Cycles of products and of bringing in weights: both at once where the weights are asked for ahead. What the
    second cache does not hold comes from memory in every inference, since the weights of other layers come between."""
    rate = processor.stream_bytes_per_cycle
    stream = weights / (_SHARED * rate if weights > processor.l2_bytes else _CACHED * rate)
    return max(products, stream) if processor.fetches_ahead else products + stream


@dataclass(frozen=True)
class Grid:
    """The tiles of an output of m x m: so many images, rows and columns of them.

    count: how many are transformed and multiplied; those beyond the last one repeat the first ones and are not read.
    """

    m: int
    images: int
    rows: int
    columns: int
    count: int

    @staticmethod
    def of(transform: Transform, shape: Sequence[int]) -> Grid:
        """Of an output [N,O/v,H,W,v]."""
        rows, columns = -(-shape[2] // transform.m), -(-shape[3] // transform.m)
        return Grid(transform.m, shape[0], rows, columns, shape[0] * rows * columns)


def winograd_conv2d(
    inputs: Sequence[Tensor], weight: np.ndarray, attrs: Attrs, shape: Sequence[int], transform: Transform
) -> Tensor:
    """3 x 3 convolution of stride 1.

    Args:
        inputs: x [N,C/b,H,W,b], the weight (unused: `weight` is transformed instead), perhaps a bias [O].
        weight: [O,C,3,3].
        shape: of the output, [N,O/v,H',W',v].
    """
    x, lanes, grid = inputs[0], shape[4], Grid.of(transform, shape)
    u = constant(transformed_weights(transform, weight, x.shape[4], lanes), "transformed")
    v = transformed_input(x, attrs, transform, grid)
    rc, ri = reduce_axis(x.shape[1], "rc"), reduce_axis(x.shape[4], "ri")

    def product(a: Expr, o: Expr, t: Expr, lane: Expr) -> Expr:
        return te_sum(v[a, rc, t, ri] * u[a, o, rc, ri, lane], axis=(rc, ri))

    products = compute((transform.alpha**2, shape[1], grid.count, lanes), product, PRODUCTS)
    result = transformed_output(products, shape, transform, grid, WINOGRAD)
    if len(inputs) == 2:
        return result
    return compute(shape, lambda n, o, h, w, k: result[n, o, h, w, k] + inputs[2][o * lanes + k], "conv2d_bias")


def transformed_input(x: Tensor, attrs: Attrs, transform: Transform, grid: Grid) -> Tensor:
    """x [N,C/b,H,W,b] -> tiles [alpha^2,C/b,count,b]."""
    top, left, _, _ = attrs["pads"]
    alpha, m, columns = transform.alpha, transform.m, grid.columns
    beside = float(attrs["pad_value"]) if x.dtype == "float32" else int(attrs["pad_value"])

    def pixel(n: Expr, c: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        inside = logical_and(h >= top, h < top + x.shape[2], w >= left, w < left + x.shape[3])
        return select(inside, x[n, c, h - top, w - left, lane], beside)

    extent = (grid.images, x.shape[1], grid.rows * m + 2, columns * m + 2, x.shape[4])
    source = compute(extent, pixel, f"{x.name}_padded", tag=PADDING)

    def half(c: Expr, t: Expr, i: Expr, k: Expr, lane: Expr) -> Expr:
        image, h, w = t // (grid.rows * columns) % grid.images, t // columns % grid.rows * m, t % columns * m
        return _combine(transform.input, i, lambda r: source[image, c, h + r, w + k, lane].astype(transform.operand))

    half_v = compute((x.shape[1], grid.count, alpha, alpha, x.shape[4]), half, INPUT_ROWS)

    def whole(a: Expr, c: Expr, t: Expr, lane: Expr) -> Expr:
        return _combine(transform.input, a % alpha, lambda r: half_v[c, t, a // alpha, r, lane])

    return compute((alpha * alpha, x.shape[1], grid.count, x.shape[4]), whole, INPUT)


def transformed_output(products: Tensor, shape: Sequence[int], transform: Transform, grid: Grid, tag: str) -> Tensor:
    """products [alpha^2,O/v,count,v] -> [N,O/b,H',W',b], which is `shape`; b is a multiple of v."""
    m, alpha, lanes = transform.m, transform.alpha, products.shape[3]
    vectors = shape[4] // lanes

    def half(o: Expr, t: Expr, i: Expr, k: Expr, lane: Expr) -> Expr:
        return _combine(transform.output, i, lambda r: products[r * alpha + k, o, t, lane])

    half_y = compute((products.shape[1], grid.count, m, alpha, lanes), half, OUTPUT_ROWS)

    def whole(n: Expr, o: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        tile = (n * grid.rows + h // m) * grid.columns + w // m
        block, i = (o * vectors + lane // lanes, lane % lanes) if vectors > 1 else (o, lane)
        return transform.unscaled(_combine(transform.output, w % m, lambda r: half_y[block, tile, h % m, r, i]))

    return compute(shape, whole, "winograd", tag=tag)


class _Same:
    """An array that is equal to itself alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.array is self.array

    def __hash__(self) -> int:
        return id(self.array)


def transformed_weights(transform: Transform, weight: np.ndarray, block_in: int, block_out: int) -> np.ndarray:
    """As `Transform.weights`."""
    return _transformed(transform, _Same(weight), block_in, block_out)


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
                term = term if factor == 1 else term * const(factor, term.dtype)
                total = term if total is None else total + term
        assert total is not None
        result = total if result is None else select(eq(row, index), total, result)
    return as_expr(result)  # pyright: ignore[reportArgumentType]
