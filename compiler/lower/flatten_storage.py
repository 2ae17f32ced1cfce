"""Every buffer becomes one-dimensional: indices of several dimensions become one flat index in elements."""

from __future__ import annotations

from compiler.arith import ZERO, Indexer
from compiler.ir import (
    Allocate,
    Attr,
    Buffer,
    Expr,
    For,
    If,
    Load,
    PrimFunc,
    Seq,
    Stmt,
    Store,
    map_stmt,
)


def flatten_storage(func: PrimFunc) -> PrimFunc:
    """``func`` over 1-D buffers of ``Buffer.elements`` elements; ``attrs["shapes"]`` keeps the parameters' shapes."""
    indexer = Indexer.of_loops(func.body)
    table: dict[Buffer, Buffer] = {}
    memo: dict[Expr, Expr] = {}

    def flat(buffer: Buffer) -> Buffer:
        new = table.get(buffer)
        if new is None:
            new = buffer
            if len(buffer.shape) != 1 or buffer.strides is not None:
                new = Buffer(buffer.name, (buffer.elements,), buffer.dtype, buffer.scope)
            table[buffer] = new
        return new

    def index(buffer: Buffer, indices: tuple[Expr, ...]) -> Expr:
        total = ZERO
        for i, stride in zip(indices, buffer.dense_strides, strict=True):
            total = total + indexer.affine(on_expr(i)).scaled(stride)
        return indexer.expr(total)

    def on_load(load: Load, _: object) -> Expr:
        return Load(flat(load.buffer), (index(load.buffer, load.indices),))

    def on_expr(e: Expr) -> Expr:
        out = memo.get(e)
        if out is None:
            out = memo[e] = indexer.rewrite(e, on_load=on_load)
        return out

    def go(s: Stmt) -> Stmt:
        if isinstance(s, Store):
            return Store(flat(s.buffer), (index(s.buffer, s.indices),), on_expr(s.value))
        if isinstance(s, Seq):
            return Seq([go(c) for c in s.stmts])
        if isinstance(s, For):
            return s.replace(body=go(s.body))
        if isinstance(s, If):
            return If(on_expr(s.cond), go(s.then), None if s.otherwise is None else go(s.otherwise))
        if isinstance(s, Allocate):
            return Allocate(flat(s.buffer), go(s.body))
        if isinstance(s, Attr):
            node = flat(s.node) if isinstance(s.node, Buffer) else s.node
            return Attr(s.key, s.value, go(s.body), node)
        return map_stmt(s, on_expr)

    attrs = {**func.attrs, "shapes": [list(b.shape) for b in func.params]}
    return PrimFunc(func.name, [flat(b) for b in func.params], go(func.body), attrs)
