"""Arrays in memory and reading them."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.errors import IRTypeError
from compiler.ir.expr import Expr, ExprLike, as_expr, found, interned, new_node
from compiler.ir.types import ITEM_BYTES


class Buffer:
    """A named multi-dimensional array in a memory scope.  Identity is the object, not the name.

    Args:
        name: for printing.
        shape: known integer extents.
        dtype: element type.
        scope: ``"global"`` (DRAM, the default), ``"local"``, or a target's own scope name.
        strides: in elements, one a dimension; None = dense row-major.
    """

    __slots__ = ("name", "shape", "dtype", "scope", "strides")

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        scope: str = "global",
        strides: Sequence[int] | None = None,
    ) -> None:
        self.name = name
        self.shape: tuple[int, ...] = tuple(int(s) for s in shape)
        self.dtype = dtype
        self.scope = scope
        self.strides: tuple[int, ...] | None = None if strides is None else tuple(int(s) for s in strides)

    @property
    def dense_strides(self) -> tuple[int, ...]:
        """Strides in elements (the given ones, or row-major)."""
        if self.strides is not None:
            return self.strides
        out: list[int] = []
        step = 1
        for extent in reversed(self.shape):
            out.append(step)
            step *= extent
        return tuple(reversed(out))

    @property
    def elements(self) -> int:
        """Number of elements the buffer spans, strides included."""
        if not self.shape:
            return 1
        if any(extent == 0 for extent in self.shape):
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.dense_strides, strict=True))

    @property
    def nbytes(self) -> int:
        return self.elements * ITEM_BYTES[self.dtype]

    def __getitem__(self, indices: ExprLike | tuple[ExprLike, ...]) -> Expr:
        if not isinstance(indices, tuple):
            indices = (indices,)
        return Load(self, tuple(as_expr(i) for i in indices))

    def __repr__(self) -> str:
        return f"{self.name}: {self.dtype}{list(self.shape)}@{self.scope}"


class Load(Expr):
    """``buffer[indices]``."""

    __slots__ = ("buffer", "indices")
    buffer: Buffer
    indices: tuple[Expr, ...]

    def __new__(cls, buffer: Buffer, indices: tuple[Expr, ...]) -> Load:
        if len(indices) != len(buffer.shape):
            raise IRTypeError(f"{buffer.name} has {len(buffer.shape)} dimensions, indexed with {len(indices)}")
        key = (Load, id(buffer), *map(id, indices))
        node = found(key)
        if node is None:
            node = new_node(cls)
            node.buffer, node.indices, node.dtype = buffer, indices, buffer.dtype
            interned[key] = node
        return node

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.indices

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Load(self.buffer, tuple(children))
