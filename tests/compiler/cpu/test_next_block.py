"""The next block of weights is asked for before it is read, whatever loops use it; brute force over all iterations."""

from __future__ import annotations

import pytest

from compiler import ir, te
from compiler.backend.cpu.next_block import fetch_next_blocks
from compiler.backend.llvm.prefetch import FETCH, PREFETCH, Fetch
from compiler.ir import Expr, For, IntImm, Load, Stmt, Var, stmt_exprs, substitute, walk_expr, walk_stmt
from compiler.ir.traverse import stmt_children
from compiler.lower import lower
from compiler.lower.pipeline import Pass

BLOCKS, DEPTH, LANES = 6, 16, 16


def product(pixels: int, tile: int, vectors: int, order: str) -> tuple[te.Schedule, list[te.Tensor]]:
    """x [pixels, depth] times w [blocks, depth, lanes], `vectors` blocks and `tile` pixels at a time."""
    x = te.placeholder((pixels, DEPTH), "float32", "x")
    w = te.placeholder((BLOCKS, DEPTH, LANES), "float32", "w")
    k = te.reduce_axis(DEPTH, "k")
    out = te.compute((BLOCKS, pixels, LANES), lambda o, p, v: te.sum(x[p, k] * w[o, k, v], axis=k), "out")
    s = te.create_schedule(out)
    sums = s[s.cache_write(out, "local")]
    stage = s[out]
    o, p, v = stage.op.axis  # type: ignore[attr-defined]
    oo, oi = stage.split(o, factor=vectors)
    po, pi = stage.split(p, factor=tile)
    stage.reorder(*((po, oo) if order == "pixels outside" else (oo, po)), pi, oi, v)
    at = po
    if order == "fused":
        at = stage.fuse(oo, po)
        stage.parallel(at)
    elif order == "pixels outside":
        at = oo
    stage.vectorize(v)
    sums.compute_at(stage, at)
    o, p, v = sums.op.axis  # type: ignore[attr-defined]
    outer, inner = sums.split(sums.op.reduce_axis[0], factor=4)  # type: ignore[attr-defined]
    sums.reorder(outer, inner, p, o, v)
    for axis in (p, o):
        sums.unroll(axis)
    sums.vectorize(v)
    sums.pragma(inner, PREFETCH, ("w", 256))
    return s, [x, w, out]


def lines_in_order(func: ir.PrimFunc) -> list[tuple[str, int]]:
    """Lines of the weights as they are fetched for later and read, in time."""
    events: list[tuple[str, int]] = []

    def number(index: Expr, at: dict[Var, int]) -> int:
        value = substitute(index, at)
        assert isinstance(value, IntImm)
        return value.value

    def run(stmt: Stmt, at: dict[Var, int]) -> None:
        if isinstance(stmt, For):
            for i in range(stmt.extent):
                inside = {**at, stmt.var: i}
                what: Fetch | None = stmt.annotations.get(FETCH)
                if what is not None:
                    assert what.buffer.name == "w"
                    for start in what.starts:
                        first = number(start, inside)
                        events.extend(("fetch", (first + LANES * line) // LANES) for line in range(what.lines))
                run(stmt.body, inside)
            return
        for expr in stmt_exprs(stmt):
            for node in walk_expr(expr):
                if isinstance(node, Load) and node.buffer.name == "w":
                    events.append(("read", number(node.indices[0], at) // LANES))
        for child in stmt_children(stmt):
            run(child, at)

    run(func.body, {})
    return events


def fetching(func: ir.PrimFunc) -> list[For]:
    return [s for s in walk_stmt(func.body) if isinstance(s, For) and FETCH in s.annotations]


@pytest.mark.parametrize("order", ["blocks outside", "fused"])
@pytest.mark.parametrize(("pixels", "tile", "vectors"), [(7, 1, 1), (7, 1, 2), (6, 3, 1), (6, 3, 3), (12, 1, 2)])
def test_blocks_are_fetched_while_the_one_before_is_used(pixels: int, tile: int, vectors: int, order: str) -> None:
    s, args = product(pixels, tile, vectors, order)
    func = lower(s, args, target_passes=[Pass("fetch", fetch_next_blocks)])
    assert len(fetching(func)) == 1
    asked: set[int] = set()
    fetches = 0
    for what, line in lines_in_order(func):
        if what == "fetch":
            asked.add(line)
            fetches += 1
        else:
            assert line in asked or line < vectors * DEPTH  # nothing comes before the first block
    assert fetches <= 3 * BLOCKS * DEPTH  # and some lines twice, where shares are no whole ones


@pytest.mark.parametrize(
    ("pixels", "tile", "order"),
    [(6, 2, "pixels outside"), (3, 3, "blocks outside")],
    ids=["blocks are read again", "each block is used once"],
)
def test_others_have_none(pixels: int, tile: int, order: str) -> None:
    s, args = product(pixels, tile, 1, order)
    assert not fetching(lower(s, args, target_passes=[Pass("fetch", fetch_next_blocks)]))
