"""Which vectorized loops become vector instructions.

``vectorized`` promises independent iterations; the checks here are for what vector code can express and for programs
that break the promise (they then run serially and still mean what the interpreter says).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from compiler.arith import linear_form
from compiler.ir import (
    ITEM_BYTES,
    LOGIC_OPS,
    Attr,
    Binary,
    Buffer,
    Call,
    Expr,
    For,
    If,
    IntImm,
    Load,
    Select,
    Seq,
    Stmt,
    Store,
    Var,
    free_vars,
    stmt_children,
    stmt_exprs,
    walk_expr,
    walk_stmt,
)

_LANES = frozenset({*range(2, 17), 32, 64})
_WRITTEN_OUT = 256  # iterations that LLVM may unroll, and more
_WIDEST = 512  # bytes of one value; LLVM splits what the machine has not, but slowly


def reads_by_remainder(body: Stmt) -> bool:
    """Whether a loop that LLVM may make vectors of reads something at the remainder or quotient of a division by
    anything but a power of two.

    LLVM 22 vectorizes nests of such loads wrongly for AVX-512: ``x[a % 2, b % 3, c % 4, d % 5]`` gives wrong elements.
    """
    inner: set[Var] = set()
    _iterations(body, inner)
    for stmt in walk_stmt(body):
        for expr in stmt_exprs(stmt):
            for node in walk_expr(expr):
                if isinstance(node, Load) and any(_divides(part, inner) for i in node.indices for part in walk_expr(i)):
                    return True
    return False


def _iterations(stmt: Stmt, inner: set[Var]) -> int:
    """How often the innermost statements run at most; adds to `inner` the variables of loops that are innermost when
    what is inside has been written out."""
    most = max((_iterations(child, inner) for child in stmt_children(stmt)), default=1)
    if not isinstance(stmt, For):
        return most
    if most <= _WRITTEN_OUT:
        inner.add(stmt.var)
    return most if stmt.kind == "vectorized" else stmt.extent * most


def _divides(expr: Expr, inner: set[Var]) -> bool:
    if not isinstance(expr, Binary) or expr.op not in ("floordiv", "floormod"):
        return False
    power = isinstance(expr.b, IntImm) and expr.b.value & (expr.b.value - 1) == 0
    return not power and not free_vars(expr).isdisjoint(inner)


def depends_on(e: Expr, var: Var) -> bool:
    return any(node is var for node in walk_expr(e))


def speculatable(e: Expr, beside: Expr | None = None) -> bool:
    """True if ``e`` may be computed although its value is not wanted: it reads no memory but inside of what ``beside``
    computes anyway."""
    known = _computed(beside) if beside is not None else set()
    stack = [e]
    while stack:
        node = stack.pop()
        if node in known:
            continue
        if isinstance(node, Load) or (isinstance(node, Call) and node.name == "pow"):
            return False
        stack.extend(node.children)
    return True


def _computed(e: Expr) -> set[Expr]:
    """What is computed whenever ``e`` is: not what it may choose between."""
    found: set[Expr] = set()
    stack = [e]
    while stack:
        node = stack.pop()
        if node in found:
            continue
        found.add(node)
        if isinstance(node, Select):
            stack.append(node.cond)
        elif isinstance(node, Binary) and node.op in LOGIC_OPS:
            stack.append(node.a)
        else:
            stack.extend(node.children)
    return found


def stride_of(buffer: Buffer, indices: Sequence[Expr], var: Var) -> int | None:
    """Elements between the accesses of two neighbouring values of ``var``; None: not constant."""
    total = 0
    for index, stride in zip(indices, buffer.dense_strides, strict=True):
        if not depends_on(index, var):
            continue
        form = linear_form(index, [var])
        if form is None:
            return None
        total += form.terms.get(var, 0) * stride
    return total


def can_widen(loop: For) -> bool:
    """True if the loop's body can run for all iterations at once, in vectors."""
    var = loop.var
    if loop.extent not in _LANES:
        return False
    stores: dict[int, list[Store]] = {}
    loads: list[Load] = []
    for s in walk_stmt(loop.body):
        if not isinstance(s, (Seq, For, Attr, Store, If)):
            return False
        if isinstance(s, If) and depends_on(s.cond, var):
            return False
        for root in stmt_exprs(s):
            for node in walk_expr(root):
                if not _fits_vectors(node, var, loop.extent):
                    return False
                if isinstance(node, Load):
                    loads.append(node)
        if isinstance(s, Store):
            if ITEM_BYTES[s.buffer.dtype] * loop.extent > _WIDEST or not _lanes_apart(s, loop):
                return False
            stores.setdefault(id(s.buffer), []).append(s)
    return all(_independent(group, loads) for group in stores.values())


def _lanes_apart(s: Store, loop: For) -> bool:
    """True if no two iterations of ``loop`` store to one element, whatever the loops inside it do."""
    inner = {f.var: f.extent for f in walk_stmt(loop.body) if isinstance(f, For)}
    loops = [loop.var, *inner]
    steps: dict[Expr, int] = {}
    for index, stride in zip(s.indices, s.buffer.dense_strides, strict=True):
        form = linear_form(index, loops)
        if form is None:
            return False
        for v, k in form.terms.items():
            steps[v] = steps.get(v, 0) + k * stride
    own = abs(steps.pop(loop.var, 0))
    if own == 0:
        return False
    span = sum((n - 1) * abs(steps.get(v, 0)) for v, n in inner.items())
    # the lanes fit between two steps of the inner loops, or the inner loops between two lanes
    return span < own or own * (loop.extent - 1) < gcd(*steps.values())


def _fits_vectors(node: Expr, var: Var, lanes: int) -> bool:
    if isinstance(node, Select) and depends_on(node.cond, var):
        return all(speculatable(value, node.cond) for value in (node.true_value, node.false_value))
    if isinstance(node, Binary) and node.op in LOGIC_OPS and depends_on(node.a, var):
        return speculatable(node.b, node.a)
    return node.dtype == "handle" or ITEM_BYTES[node.dtype] * lanes <= _WIDEST


def _independent(stores: list[Store], loads: list[Load]) -> bool:
    """All accesses to a written buffer are at the same place in each iteration."""
    where = stores[0].indices
    buffer = stores[0].buffer
    same = all(s.indices == where for s in stores)
    return same and all(n.indices == where for n in loads if n.buffer is buffer)
