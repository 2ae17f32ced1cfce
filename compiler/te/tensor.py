"""Tensors and the operations that define them.

A :class:`Tensor` is a :class:`compiler.ir.Buffer` with a definition: ``T[i, j]`` is an ordinary ``Load`` of it,
so a tensor expression is plain loop IR from the start and needs no translation when loops are made.  Shapes are known
integers.  An :class:`IterVar` is a variable that knows its extent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compiler.ir import (
    DTYPES,
    FLOAT_DTYPES,
    Buffer,
    Expr,
    ExprLike,
    FloatImm,
    IntImm,
    Load,
    Var,
    as_expr,
    binary,
    const,
    logical_or,
    ne,
    select,
    walk_expr,
)
from compiler.te.errors import TensorExprError


class IterVar(Var):
    """An iteration variable, ``0 <= it < extent``, dtype int32.

    ``kind`` is ``data`` (a dimension of the output), ``reduce``, ``scan`` (the steps of a recurrence), or ``thread``
    (made by :func:`thread_axis`); ``tag`` names the thread axis.
    """

    __slots__ = ("extent", "kind", "tag")

    def __init__(self, name: str, extent: int, kind: str = "data", tag: str = "") -> None:
        super().__init__(name, "int32")
        self.extent, self.kind, self.tag = extent, kind, tag

    @property
    def var(self) -> IterVar:
        """The variable itself (an axis and its variable are one object here)."""
        return self


class Tensor(Buffer):
    """A multi-dimensional value defined by an operation.  Index it with as many expressions as it has dimensions."""

    __slots__ = ("op",)

    def __init__(self, name: str, shape: Sequence[int], dtype: str, op: Operation) -> None:
        super().__init__(name, shape, dtype)
        self.op = op

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, indices: ExprLike | tuple[ExprLike, ...]) -> Expr:
        if not isinstance(indices, tuple):
            indices = (indices,)
        if len(indices) != len(self.shape):
            raise TensorExprError(f"tensor '{self.name}' has shape {self.shape}, indexed with {len(indices)} indices")
        out = []
        for i in indices:
            e = as_expr(i)
            if e.dtype != "int32":
                raise TensorExprError(f"index {e} of tensor '{self.name}' has dtype {e.dtype}; indices are int32")
            out.append(e)
        return Load(self, tuple(out))

    def __call__(self, *indices: ExprLike) -> Expr:
        return self[indices]

    def __repr__(self) -> str:
        return f"Tensor({self.name}: {self.dtype}{list(self.shape)})"


class Operation:
    """What defines a tensor: a :class:`PlaceholderOp`, a :class:`ComputeOp`, a ``ScanOp`` or an ``ExternOp``."""

    name: str
    output: Tensor
    axis: tuple[IterVar, ...] = ()

    @property
    def reduce_axis(self) -> tuple[IterVar, ...]:
        """The axes that are reduced over."""
        return ()

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors this operation reads, in order of first use."""
        return ()


class PlaceholderOp(Operation):
    """An input from outside."""

    def __init__(self, name: str, shape: Sequence[int], dtype: str) -> None:
        self.name = name
        self.output = Tensor(name, shape, dtype, self)


class PartOp(Operation):
    """A further output of an operation ``whole`` that computes several at once."""

    def __init__(self, name: str, shape: Sequence[int], dtype: str, whole: Operation) -> None:
        self.name, self.whole = name, whole
        self.output = Tensor(name, shape, dtype, self)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.whole.output,)


class Reducer:
    """A commutative, associative combination with an identity (``sum``, ``max``, ``min`` or the user's own)."""

    def __init__(self, name: str, combine: Callable[[Expr, Expr], Expr], identity: Callable[[str], ExprLike]) -> None:
        self.name = name
        self.combine = combine
        self._identity = identity

    def identity(self, dtype: str) -> Expr:
        """The element that changes nothing, of type ``dtype``."""
        value = self._identity(dtype)
        return value if isinstance(value, Expr) else const(value, dtype)

    def __call__(self, expr: ExprLike, axis: IterVar | Sequence[IterVar]) -> Reduce:
        source = as_expr(expr)
        axes = (axis,) if isinstance(axis, IterVar) else tuple(axis)
        if not axes:
            raise TensorExprError(f"te.{self.name} needs at least one reduce axis")
        for a in axes:
            if not isinstance(a, IterVar) or a.kind != "reduce":
                raise TensorExprError(f"axis {a!r} of te.{self.name} is not made by te.reduce_axis")
        if any(isinstance(n, Reduce) for n in walk_expr(source)):
            raise TensorExprError(f"te.{self.name} inside a reduction: compute the inner one as its own tensor")
        return Reduce(self, source, axes)


class Reduce(Expr):
    """A reduction of ``source`` over ``axes``; stands only as the whole body of a compute."""

    __slots__ = ("reducer", "source", "axes")
    reducer: Reducer
    source: Expr
    axes: tuple[IterVar, ...]

    def __init__(self, reducer: Reducer, source: Expr, axes: tuple[IterVar, ...]) -> None:
        self.reducer, self.source, self.axes = reducer, source, axes
        self.dtype = source.dtype

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.source,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Reduce(self.reducer, children[0], self.axes)

    def __repr__(self) -> str:
        return f"{self.reducer.name}({self.source!r}, axis=[{', '.join(a.name for a in self.axes)}])"


class ComputeOp(Operation):
    """``output[axis] = body``; the body is an expression over ``axis`` or one :class:`Reduce`."""

    def __init__(
        self, name: str, axis: Sequence[IterVar], body: Expr, tag: str = "", output: Tensor | None = None
    ) -> None:
        self.name = name
        self.axis = tuple(axis)
        self.body = body
        self.tag = tag
        if output is None:
            output = Tensor(name, [a.extent for a in self.axis], body.dtype, self)
        self.output = output
        self._inputs: tuple[Tensor, ...] | None = None

    @property
    def reduce_axis(self) -> tuple[IterVar, ...]:
        return self.body.axes if isinstance(self.body, Reduce) else ()

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        if self._inputs is None:
            self._inputs = tensors_read(self.body)
        return self._inputs


def tensors_read(expr: Expr) -> tuple[Tensor, ...]:
    """The tensors loaded in ``expr``, in order of first appearance from the left."""
    loads = (node for node in walk_expr(expr) if isinstance(node, Load))
    return tuple(dict.fromkeys(load.buffer for load in loads if isinstance(load.buffer, Tensor)))


# --------------------------------------------------------------------------------------------- constructors


def _check_shape(shape: Sequence[int] | int, what: str) -> tuple[int, ...]:
    dims = (shape,) if isinstance(shape, int) else tuple(shape)
    out: list[int] = []
    for d in dims:
        if isinstance(d, IntImm):
            d = d.value
        try:
            n = int(d)  # numpy integers too
        except (TypeError, ValueError):
            raise TensorExprError(f"{what}: extent {d!r} is not an integer; shapes are static") from None
        if n < 1 or n != d:
            raise TensorExprError(f"{what}: extent {d!r} must be an integer of at least 1")
        out.append(n)
    return tuple(out)


def _check_dtype(dtype: str, what: str) -> None:
    if dtype not in DTYPES:
        raise TensorExprError(f"{what}: unknown dtype {dtype!r}; known: {', '.join(sorted(DTYPES))}")


def placeholder(shape: Sequence[int] | int, dtype: str = "float32", name: str = "placeholder") -> Tensor:
    """An input tensor of ``shape`` and ``dtype``."""
    _check_dtype(dtype, f"placeholder '{name}'")
    return PlaceholderOp(name, _check_shape(shape, f"placeholder '{name}'"), dtype).output


def compute(
    shape: Sequence[int] | int, fcompute: Callable[..., ExprLike], name: str = "compute", tag: str = ""
) -> Tensor:
    """The tensor of ``shape`` whose element at ``i, j, ...`` is ``fcompute(i, j, ...)``.

    The dtype is that of the expression.  Raises TensorExprError on a bad shape, a function of the wrong arity, or a
    reduction that is not the whole expression.

    >>> A = placeholder((4,), "int32", "A")
    >>> compute((4,), lambda i: A[i] + 1, name="B")
    Tensor(B: int32[4])
    """
    dims = _check_shape(shape, f"compute '{name}'")
    code = getattr(fcompute, "__code__", None)
    variadic = code is None or bool(code.co_flags & 4)
    names = [] if code is None else list(code.co_varnames[: code.co_argcount])
    if not variadic and len(names) != len(dims):
        raise TensorExprError(f"compute '{name}': shape {dims} has {len(dims)} dimensions, function takes {len(names)}")
    while len(names) < len(dims):
        names.append(f"i{len(names)}")
    axis = [IterVar(n, d) for n, d in zip(names, dims, strict=True)]
    body = as_expr(fcompute(*axis))
    if any(isinstance(n, Reduce) for child in body.children for n in walk_expr(child)):
        raise TensorExprError(
            f"compute '{name}': a reduction must be the whole expression; put what follows it into a compute of its own"
        )
    return ComputeOp(name, axis, body, tag).output


def reduce_axis(extent: int | tuple[int, int], name: str = "k") -> IterVar:
    """A reduction axis over ``0 <= k < extent``; ``(0, n)`` is accepted too."""
    if isinstance(extent, tuple):
        if len(extent) != 2 or extent[0] != 0:
            raise TensorExprError(f"reduce_axis '{name}': range {extent} must be (0, n)")
        extent = extent[1]
    return IterVar(name, _check_shape(extent, f"reduce_axis '{name}'")[0], "reduce")


def thread_axis(tag: str, extent: int | None = None, name: str | None = None) -> IterVar:
    """A thread axis to bind loops to: ``vthread`` (or VTA's ``cthread``), ``blockIdx.x`` ... ``threadIdx.z``.

    Args:
        tag: which.
        extent: number of threads if known; bound loops must have it.
        name: for printing (default: the tag).
    """
    known = {"vthread", "cthread"} | {f"{b}.{d}" for b in ("blockIdx", "threadIdx") for d in "xyz"}
    if tag not in known:
        raise TensorExprError(f"thread_axis: unknown tag {tag!r}; one of {', '.join(sorted(known))}")
    return IterVar(name or tag, extent or 0, "thread", tag)


def comm_reducer(
    combine: Callable[[Expr, Expr], Expr], identity: Callable[[str], ExprLike], name: str = "reduce"
) -> Reducer:
    """A commutative reduction of the user's own.

    Args:
        combine: ``combine(x, y)`` of two values of the same dtype.
        identity: ``identity(dtype)`` with ``combine(identity, x) == x``.

    >>> product = comm_reducer(lambda x, y: x * y, lambda dtype: 1, "product")
    >>> A = placeholder((4,), "int32", "A")
    >>> k = reduce_axis(4, "k")
    >>> compute((1,), lambda i: product(A[k], axis=k), "P")
    Tensor(P: int32[1])
    """
    return Reducer(name, combine, identity)


def lowest(dtype: str) -> Any:
    """The smallest value of ``dtype``."""
    if dtype in FLOAT_DTYPES:
        return FloatImm(float("-inf"), dtype)
    bits = int(dtype.lstrip("uint"))
    return 0 if dtype.startswith("u") else -(1 << (bits - 1))


def highest(dtype: str) -> Any:
    """The largest value of ``dtype``."""
    if dtype in FLOAT_DTYPES:
        return FloatImm(float("inf"), dtype)
    bits = int(dtype.lstrip("uint"))
    return (1 << bits) - 1 if dtype.startswith("u") else (1 << (bits - 1)) - 1


def greater_or_nan(x: Expr, y: Expr) -> Expr:
    """The greater of two values; of floats, NaN if either is (``max`` of the loop IR would drop it)."""
    if x.dtype not in FLOAT_DTYPES:
        return binary("max", x, y)
    return select(logical_or(x > y, ne(x, x)), x, y)


def lesser_or_nan(x: Expr, y: Expr) -> Expr:
    """The lesser of two values; of floats, NaN if either is."""
    if x.dtype not in FLOAT_DTYPES:
        return binary("min", x, y)
    return select(logical_or(x < y, ne(x, x)), x, y)


sum = Reducer("sum", lambda x, y: x + y, lambda dtype: 0)
max = Reducer("max", greater_or_nan, lowest)
min = Reducer("min", lesser_or_nan, highest)
