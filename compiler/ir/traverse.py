"""Walking, searching and rewriting expressions and statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from compiler.errors import IRTypeError
from compiler.ir.expr import Expr, ExprLike, Var, as_expr
from compiler.ir.stmt import Allocate, Attr, Evaluate, For, If, Seq, Stmt, Store, seq


def walk_expr(expr: Expr) -> Iterator[Expr]:
    """Every node of ``expr`` once (shared nodes once): parents before children, operands from the left."""
    seen: set[int] = set()
    stack = [expr]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        stack.extend(reversed(node.children))


def stmt_children(stmt: Stmt) -> tuple[Stmt, ...]:
    """The statements directly inside ``stmt``."""
    if isinstance(stmt, Seq):
        return stmt.stmts
    if isinstance(stmt, (For, Allocate, Attr)):
        return (stmt.body,)
    if isinstance(stmt, If):
        return (stmt.then,) if stmt.otherwise is None else (stmt.then, stmt.otherwise)
    return ()


def stmt_exprs(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions directly in ``stmt`` (not in nested statements)."""
    if isinstance(stmt, Store):
        return (*stmt.indices, stmt.value)
    if isinstance(stmt, If):
        return (stmt.cond,)
    if isinstance(stmt, Evaluate):
        return (stmt.value,)
    return ()


def walk_stmt(stmt: Stmt) -> Iterator[Stmt]:
    """Every statement in ``stmt``, itself first, in program order."""
    stack = [stmt]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(stmt_children(node)))


def free_vars(expr: Expr) -> set[Var]:
    return {n for n in walk_expr(expr) if isinstance(n, Var)}


def rewrite_expr(
    expr: Expr, fn: Callable[[Expr], Expr | None], memo: dict[int, tuple[Expr, Expr]] | None = None
) -> Expr:
    """``expr`` rebuilt bottom-up; ``fn(node)`` sees each node with its children already rewritten and returns a
    replacement or None to keep it.  ``memo`` may be shared over calls with the same ``fn``."""
    memo = {} if memo is None else memo

    def go(node: Expr) -> Expr:
        hit = memo.get(id(node))
        if hit is not None:
            return hit[1]
        children = node.children
        if children:
            new = [go(c) for c in children]
            changed = any(n is not c for n, c in zip(new, children, strict=True))
            rebuilt = node.with_children(new) if changed else node
        else:
            rebuilt = node
        replaced = fn(rebuilt)
        result = rebuilt if replaced is None else replaced
        memo[id(node)] = (node, result)  # the key node is kept alive so that its id stays its own
        return result

    return go(expr)


def substitute(expr: Expr, env: Mapping[Var, ExprLike]) -> Expr:
    """``expr`` with variables replaced."""
    if not env:
        return expr
    table = {v: as_expr(e) for v, e in env.items()}
    return rewrite_expr(expr, lambda n: table.get(n) if isinstance(n, Var) else None)


def map_stmt(
    stmt: Stmt,
    on_expr: Callable[[Expr], Expr] | None = None,
    on_stmt: Callable[[Stmt], Stmt | None] | None = None,
) -> Stmt:
    """``stmt`` rebuilt bottom-up: ``on_expr`` maps each expression held by a statement, then ``on_stmt`` may replace
    the rebuilt statement (None keeps it)."""

    def ex(e: Expr) -> Expr:
        return e if on_expr is None else on_expr(e)

    def go(node: Stmt) -> Stmt:
        if isinstance(node, Seq):
            out: Stmt = seq(*[go(s) for s in node.stmts])
        elif isinstance(node, For):
            out = node.replace(body=go(node.body))
        elif isinstance(node, Allocate):
            out = Allocate(node.buffer, go(node.body))
        elif isinstance(node, Attr):
            out = Attr(node.key, node.value, go(node.body), node.node)
        elif isinstance(node, If):
            other = None if node.otherwise is None else go(node.otherwise)
            out = If(ex(node.cond), go(node.then), other)
        elif isinstance(node, Store):
            out = Store(node.buffer, [ex(i) for i in node.indices], ex(node.value))
        elif isinstance(node, Evaluate):
            out = Evaluate(ex(node.value))
        else:
            raise IRTypeError(f"unknown statement {type(node).__name__}")
        if on_stmt is not None:
            replaced = on_stmt(out)
            if replaced is not None:
                return replaced
        return out

    return go(stmt)


def substitute_stmt(stmt: Stmt, env: Mapping[Var, ExprLike]) -> Stmt:
    """``stmt`` with variables replaced in every expression."""
    table = {v: as_expr(e) for v, e in env.items()}
    memo: dict[int, tuple[Expr, Expr]] = {}

    def sub(e: Expr) -> Expr:
        return rewrite_expr(e, lambda n: table.get(n) if isinstance(n, Var) else None, memo)

    return map_stmt(stmt, on_expr=sub)


def loops_of(stmt: Stmt) -> Iterable[For]:
    return (s for s in walk_stmt(stmt) if isinstance(s, For))
