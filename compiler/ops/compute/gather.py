"""Elements picked and placed by computed indices, as tensor expressions; scatters are statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.ir import Buffer, Expr, ExprLike, For, Stmt, Store, Var, binary, const, maximum, minimum, select, seq
from compiler.ops.compute.registry import register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.extern import extern
from compiler.te.tensor import Tensor, compute, greater_or_nan, lesser_or_nan


def _inside(index: Expr, extent: int) -> Expr:
    """An index (negative: from the end) clamped to the axis, int32: no input makes the kernel leave the tensor."""
    counted = select(index < 0, index + const(extent, index.dtype), index)
    return minimum(maximum(counted, const(0, index.dtype)), const(extent - 1, index.dtype)).astype("int32")


@register_compute("gather")
def gather(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Slices along one axis."""
    x, indices = inputs
    axis = attrs["axis"]

    def element(*i: Expr) -> Expr:
        at = _inside(indices[i[axis : axis + indices.ndim]], x.shape[axis])
        return x[(*i[:axis], at, *i[axis + indices.ndim :])]

    return compute(output.shape, element, "gather")


@register_compute("gather_elements")
def gather_elements(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """One element for every index."""
    x, indices = inputs
    axis = attrs["axis"]

    def element(*i: Expr) -> Expr:
        return x[(*i[:axis], _inside(indices[i], x.shape[axis]), *i[axis + 1 :])]

    return compute(output.shape, element, "gather_elements")


@register_compute("gather_nd")
def gather_nd(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Slices picked by tuples of indices."""
    x, indices = inputs
    batch, lead, depth = attrs["batch_dims"], indices.ndim - 1, indices.shape[-1]

    def element(*i: Expr) -> Expr:
        picks = [_inside(indices[(*i[:lead], d)], x.shape[batch + d]) for d in range(depth)]
        return x[(*i[:batch], *picks, *i[lead:])]

    return compute(output.shape, element, "gather_nd")


_COMBINE: dict[str, Callable[[Expr, Expr], Expr]] = {
    "none": lambda old, new: new,
    "add": lambda old, new: binary("add", old, new),
    "mul": lambda old, new: binary("mul", old, new),
    "max": greater_or_nan,
    "min": lesser_or_nan,
}


def _nest(shape: Sequence[int], prefix: str, body: Callable[[list[Var]], Stmt]) -> Stmt:
    """Loops over every index of `shape`."""
    loops = [Var(f"{prefix}{d}", "int32") for d in range(len(shape))]
    nest = body(loops)
    for loop, extent in zip(reversed(loops), reversed(shape), strict=True):
        nest = For(loop, extent, nest)
    return nest


def _scatter(
    inputs: Sequence[Tensor], reduction: str, place: Callable[[Sequence[Expr], Buffer], Sequence[ExprLike]]
) -> Tensor:
    """A copy of the data in which every update is combined with what lies at `place(its index, indices)`."""
    data = inputs[0]

    def statement(ins: Sequence[Tensor], outs: Sequence[Tensor]) -> Stmt:
        (x, indices, updates), (out,) = ins, outs

        def put(i: list[Var]) -> Stmt:
            at = place(i, indices)
            return Store(out, at, _COMBINE[reduction](out[tuple(at)], updates[tuple(i)]))

        copy = _nest(x.shape, "i", lambda i: Store(out, i, x[tuple(i)]))
        return seq(copy, _nest(updates.shape, "u", put))

    result = extern(data.shape, inputs, statement, "scattered", data.dtype)
    assert isinstance(result, Tensor)
    return compute(data.shape, lambda *i: result[i], "scatter")


@register_compute("scatter_elements")
def scatter_elements(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """One update for every index."""
    axis, extent = attrs["axis"], output.shape[attrs["axis"]]

    def place(i: Sequence[Expr], indices: Buffer) -> Sequence[ExprLike]:
        return [*i[:axis], _inside(indices[tuple(i)], extent), *i[axis + 1 :]]

    return _scatter(inputs, attrs["reduction"], place)


@register_compute("scatter_nd")
def scatter_nd(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Slices placed by tuples of indices."""
    lead, depth = inputs[1].ndim - 1, inputs[1].shape[-1]

    def place(i: Sequence[Expr], indices: Buffer) -> Sequence[ExprLike]:
        return [*(_inside(indices[(*i[:lead], d)], output.shape[d]) for d in range(depth)), *i[lead:]]

    return _scatter(inputs, attrs["reduction"], place)
