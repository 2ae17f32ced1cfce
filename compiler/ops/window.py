"""Windows over any number of spatial axes: what two-dimensional convolution and pooling do not cover."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.registry import (
    FLOATS,
    NUMBERS,
    REQUIRED,
    Attrs,
    OpDef,
    Pattern,
    TensorType,
    expect_dtype,
    register,
    window_extent,
)


def lowest(dtype: str) -> float | int:
    """What padding holds that never is a maximum."""
    return -np.inf if dtype.startswith("float") else int(np.iinfo(dtype).min)


def _extents(name: str, shape: Sequence[int], kernel: Sequence[int], attrs: Attrs) -> tuple[int, ...]:
    rank = len(shape)
    if any(len(attrs[key]) != rank for key in ("strides", "dilations")) or len(attrs["pads"]) != 2 * rank:
        raise ShapeError(f"{name}: strides, dilations, pads must be given for {rank} axes, got {dict(attrs)}")
    before, after = attrs["pads"][:rank], attrs["pads"][rank:]
    per_axis = zip(shape, kernel, attrs["strides"], before, after, attrs["dilations"], strict=True)
    return tuple(window_extent(name, *values) for values in per_axis)


def _windows(x: np.ndarray, kernel: Sequence[int], extents: Sequence[int], attrs: Attrs, fill: float):
    """For every kernel position, the elements [N, C, extents...] that all windows have there."""
    rank = len(kernel)
    pads = attrs["pads"]
    padded = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)], constant_values=fill)
    for position in np.ndindex(*kernel):
        per_axis = zip(position, attrs["dilations"], attrs["strides"], extents, strict=True)
        yield position, padded[(..., *(slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, s, n in per_axis))]


def _infer_pool(name: str, dtype: str | None, *allowed: str) -> Callable[..., TensorType]:
    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        (x,) = types
        expect_dtype(name, "the input", x, *allowed)
        if len(x.shape) != len(attrs["kernel"]) + 2:
            raise ShapeError(f"{name}: kernel {attrs['kernel']} does not fit input {x.shape}")
        return TensorType((*x.shape[:2], *_extents(name, x.shape[2:], attrs["kernel"], attrs)), dtype or x.dtype)

    return infer


def _pool_views(x: np.ndarray, attrs: Attrs, fill: float) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    extents = _extents("pool", x.shape[2:], attrs["kernel"], attrs)
    return _windows(x, attrs["kernel"], extents, attrs, fill)


def _max(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    (x,) = arrays
    return np.max([view for _, view in _pool_views(x, attrs, lowest(x.dtype.name))], axis=0)


def _sum(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    (x,) = arrays
    return np.sum([view for _, view in _pool_views(x, attrs, 0)], axis=0, dtype=x.dtype)


def _max_index(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    (x,) = arrays
    flat = np.broadcast_to(np.arange(x[0, 0].size).reshape(x.shape[2:]), x.shape)
    views = [view for _, view in _pool_views(x, attrs, lowest(x.dtype.name))]
    where = np.array([view for _, view in _pool_views(flat, attrs, -1)])
    best = np.max(views, axis=0)
    index = np.where((np.array(views) == best) & (where >= 0), where, x[0, 0].size).min(axis=0)
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * (x.ndim - 2))
    return (index + planes * x[0, 0].size).astype(np.int64)


def _infer_conv(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, w = types
    expect_dtype("conv_nd", "the input", x, *FLOATS, "int32")
    expect_dtype("conv_nd", "the weight", w, x.dtype)
    groups = attrs["groups"]
    if len(x.shape) != len(w.shape) or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise ShapeError(f"conv_nd: input {x.shape} does not fit weight {w.shape} with groups={groups}")
    return TensorType((x.shape[0], w.shape[0], *_extents("conv_nd", x.shape[2:], w.shape[2:], attrs)), x.dtype)


def _conv(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, w = arrays
    groups = attrs["groups"]
    extents = _extents("conv_nd", x.shape[2:], w.shape[2:], attrs)
    out = np.zeros((x.shape[0], groups, w.shape[0] // groups, *extents), x.dtype)
    weights = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for position, view in _windows(x, w.shape[2:], extents, attrs, 0):
        grouped = view.reshape(x.shape[0], groups, w.shape[1], *extents)
        out += np.einsum("goc,ngc...->ngo...", weights[(..., *position)], grouped)
    return out.reshape(x.shape[0], w.shape[0], *extents)


def _infer_transposed(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, w, *bias = types
    expect_dtype("conv_transpose", "the input", x, *FLOATS)
    for operand in (w, *bias):
        expect_dtype("conv_transpose", "the weight or bias", operand, x.dtype)
    rank = len(x.shape) - 2
    if len(w.shape) != rank + 2 or x.shape[1] != w.shape[0] or x.shape[1] % attrs["groups"]:
        raise ShapeError(f"conv_transpose: input {x.shape} does not fit weight {w.shape} with groups={attrs['groups']}")
    extents = tuple(attrs["shape"])
    if len(extents) != rank or min(extents) < 1:
        raise ShapeError(f"conv_transpose: the output's extents {extents} must be positive, one per axis")
    channels = w.shape[1] * attrs["groups"]
    if bias and bias[0].shape != (channels,):
        raise ShapeError(f"conv_transpose: the bias must have shape ({channels},), got {bias[0].shape}")
    return TensorType((x.shape[0], channels, *extents), x.dtype)


def _transposed(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, w, *bias = arrays
    groups, rank = attrs["groups"], x.ndim - 2
    shape = tuple(attrs["shape"])
    out = np.zeros((x.shape[0], groups, w.shape[1], *shape), x.dtype)
    grouped = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    weights = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for position in np.ndindex(*w.shape[2:]):
        part = np.einsum("gco,ngc...->ngo...", weights[(..., *position)], grouped)
        source, target = [], []
        for axis in range(rank):
            at = np.arange(x.shape[2 + axis]) * attrs["strides"][axis]
            at = at + position[axis] * attrs["dilations"][axis] - attrs["pads"][axis]
            fits = (at >= 0) & (at < shape[axis])
            source.append(np.flatnonzero(fits))
            target.append(at[fits])
        leading = [np.arange(n) for n in out.shape[:3]]
        out[np.ix_(*leading, *target)] += part[np.ix_(*leading, *source)]
    for values in bias:
        out += values.reshape(groups, w.shape[1], *[1] * rank)
    return out.reshape(x.shape[0], -1, *shape)


def _infer_lrn(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    expect_dtype("lrn", "the input", types[0], *FLOATS)
    if len(types[0].shape) < 2:
        raise ShapeError(f"lrn: input {types[0].shape} has no channels")
    return types[0]


def _lrn(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    (x,) = arrays
    size = attrs["size"]
    before = (size - 1) // 2
    padded = np.pad(x * x, [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)])
    total = np.sum([padded[:, i : i + x.shape[1]] for i in range(size)], axis=0)
    return (x / (attrs["bias"] + attrs["alpha"] / size * total) ** attrs["beta"]).astype(x.dtype)


_POOL = {"kernel": REQUIRED, "strides": REQUIRED, "pads": REQUIRED, "dilations": REQUIRED}
_PADS = "pads = (before each axis..., behind each axis...)"

for _op, _dtype, _allowed, _reference, _doc in (
    ("max_pool_nd", None, NUMBERS, _max, "Window maximum of x [N,C,...]"),
    ("sum_pool_nd", None, NUMBERS, _sum, "Window sum of x [N,C,...]; the padding holds 0"),
    ("max_pool_index", "int64", NUMBERS, _max_index, "Where in x [N,C,...], flattened, each window's first maximum is"),
):
    register(
        OpDef(
            _op,
            Pattern.OPAQUE if _dtype else Pattern.COMPLEX,
            _infer_pool(_op, _dtype, *_allowed),
            _reference,
            attrs=_POOL,
            doc=f"{_doc}; {_PADS}.",
        )
    )
register(
    OpDef(
        "conv_nd",
        Pattern.COMPLEX,
        _infer_conv,
        _conv,
        arity=(2, 2),
        attrs={"strides": REQUIRED, "pads": REQUIRED, "dilations": REQUIRED, "groups": 1},
        doc=f"x [N,C,...], w [O,C/groups,...] -> [N,O,...], zero padding; {_PADS}.",
    )
)
register(
    OpDef(
        "conv_transpose",
        Pattern.COMPLEX,
        _infer_transposed,
        _transposed,
        arity=(2, 3),
        attrs={"strides": REQUIRED, "pads": REQUIRED, "dilations": REQUIRED, "groups": 1, "shape": REQUIRED},
        doc="The transpose of a convolution: x [N,C,...], w [C,O/groups,...], perhaps a bias [O] -> [N,O,*shape]; "
        "element i of x is spread over the outputs i * stride - pad + k * dilation. pads: before each axis.",
    )
)
register(
    OpDef(
        "lrn",
        Pattern.OPAQUE,
        _infer_lrn,
        _lrn,
        attrs={"size": REQUIRED, "alpha": 1e-4, "beta": 0.75, "bias": 1.0},
        doc="x / (bias + alpha / size * sum of squares over `size` neighbouring channels) ** beta.",
    )
)
