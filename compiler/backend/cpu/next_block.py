"""A block of weights on its way while the one before it is used.

Where several tiles of outputs use a block of weights one after the other, the first of them would wait for memory and
the others leave it idle. So each tile asks for its share of the block that follows, a few lines at a time between its
products, and all of it lies in the second cache when its turn comes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.arith import linear_form
from compiler.backend.llvm.prefetch import FETCH, PREFETCH, Fetch
from compiler.ir import (
    Binary,
    Buffer,
    Expr,
    For,
    IntImm,
    Load,
    PrimFunc,
    Stmt,
    Var,
    as_expr,
    free_vars,
    map_stmt,
    stmt_exprs,
    substitute,
    walk_expr,
    walk_stmt,
)
from compiler.ir.traverse import stmt_children

# Elements of a line of the caches.
_LINE = 16


def fetch_next_blocks(func: PrimFunc) -> PrimFunc:
    """``func`` in which the loops of products whose weights are fetched ahead (:data:`PREFETCH`) also fetch the next
    block, if they use each block several times and pass all of them once::

        for o in range(8):                                 for o in range(8):
            for w in range(7):                                 for w in range(7):
                for k in range(32):                  =>            for k in range(32):
                    s[...] += x[...] * v[o * 512 + k * 16]             # fetch v[(o + 1) * 512 + (w * 32 + k) * 3]
                                                                       s[...] += x[...] * v[o * 512 + k * 16]
    """
    found: dict[Var, Fetch] = {}

    def look(stmt: Stmt, around: tuple[For, ...]) -> None:
        if isinstance(stmt, For):
            # What is outside of a parallel loop is not known in its tasks.
            around = (stmt,) if stmt.kind == "parallel" else (*around, stmt)
            if PREFETCH in stmt.annotations:
                blocks = _Blocks.of(around)
                if blocks is not None:
                    loop, fetch = blocks.fetch()
                    found[loop.var] = fetch
        for child in stmt_children(stmt):
            look(child, around)

    def annotate(stmt: Stmt) -> Stmt | None:
        if not isinstance(stmt, For) or stmt.var not in found:
            return None
        return stmt.replace(annotations={**stmt.annotations, FETCH: found[stmt.var]})

    look(func.body, ())
    return func.with_body(map_stmt(func.body, on_stmt=annotate)) if found else func


@dataclass(frozen=True)
class _Blocks:
    """How a nest reads a buffer of weights.

    starts: where in the next block each of its contiguous streams begins. length: elements of a stream. reduction: the
    loops over a block, outermost first. tile, tiles: which of so many tiles uses it.
    """

    buffer: Buffer
    starts: tuple[Expr, ...]
    length: int
    reduction: tuple[For, ...]
    tile: Expr
    tiles: int

    @staticmethod
    def of(around: Sequence[For]) -> _Blocks | None:
        """Those of the innermost of the loops `around`, of which the outermost is first; None if it has none."""
        reads = _reads(around[-1])
        if reads is None:
            return None
        buffer, indices, width = reads
        index = next(iter(indices.values()))
        moves = [any(node is loop.var for node in walk_expr(index)) for loop in around]
        first = len(around)
        # A loop over blocks that was fused with one over tiles ends them too.
        while first and moves[first - 1] and linear_form(index, [around[first - 1].var]) is not None:
            first -= 1
        again = first
        while again and not moves[again - 1]:
            again -= 1
        outside = [loop for loop, moving in zip(around[:again], moves, strict=False) if not moving]
        if not again or math.prod(loop.extent for loop in outside) > 1:
            return None
        block, reduction = around[again - 1], tuple(around[first:])
        step = _step(index, block.var)
        if step is None or not _contiguous(index, reduction, width):
            return None
        tile: Expr = block.var % step
        for loop in around[again:first]:
            tile = tile * loop.extent + loop.var
        tiles = step * math.prod(loop.extent for loop in around[again:first])
        following = {loop.var: as_expr(0) for loop in reduction} | {block.var: block.var + step}
        starts, length = _joined(indices, width * math.prod(loop.extent for loop in reduction))
        places = tuple(substitute(start, following) for start in starts.values())
        return _Blocks(buffer, places, length, reduction, tile, tiles) if tiles > 1 else None

    def fetch(self) -> tuple[For, Fetch]:
        """What to fetch, and the loop at the start of whose iterations."""
        loops = list(self.reduction)
        # As far inside as an iteration's share of a stream is a line.
        while len(loops) > 1 and self.length < _LINE * self._steps(loops):
            loops.pop()
        share = -(-self.length // self._steps(loops))
        turn = self.tile
        for loop in loops:
            turn = turn * loop.extent + loop.var
        return loops[-1], Fetch(self.buffer, tuple(start + turn * share for start in self.starts), -(-share // _LINE))

    def _steps(self, loops: Sequence[For]) -> int:
        return self.tiles * math.prod(loop.extent for loop in loops)


def _reads(loop: For) -> tuple[Buffer, dict[int, Expr], int] | None:
    """The buffer that a loop fetches ahead; where an iteration begins to read its contiguous streams, as an index by
    that index without the loops' variables; how many elements of each it reads."""
    name = loop.annotations[PREFETCH][0]
    inside = {s.var: s.extent for s in walk_stmt(loop.body) if isinstance(s, For)}
    nodes = (node for s in walk_stmt(loop.body) for root in stmt_exprs(s) for node in walk_expr(root))
    loads = [node for node in nodes if isinstance(node, Load) and node.buffer.name == name]
    indices = [load.indices[0] for load in loads]
    lanes = {inside[node] for index in indices for node in free_vars(index) if node in inside}
    found: dict[int, Expr] = {}
    for index in indices:
        index = substitute(index, dict.fromkeys(inside, 0))
        first = substitute(index, dict.fromkeys(free_vars(index), 0))
        if not isinstance(first, IntImm):
            return None
        found[first.value] = index
    if len(lanes) != 1:
        return None
    starts, width = _joined(found, *lanes)
    return loads[0].buffer, starts, width


def _joined(starts: dict[int, Expr], length: int) -> tuple[dict[int, Expr], int]:
    """Stretches of equal lengths, those that follow each other as one; as they are if not all are then equally long."""
    joined = {at: starts[at] for at in sorted(starts) if at - length not in starts}
    count = len(starts) // len(joined)
    whole = all(at + length * k in starts for at in joined for k in range(count))
    return (joined, length * count) if whole and count * len(joined) == len(starts) else (starts, length)


def _step(index: Expr, block: Var) -> int | None:
    """How many iterations of the loop `block` have the same index; None if its iterations come back to one."""
    found = 1
    for node in walk_expr(index):
        if isinstance(node, Binary) and node.a is block and node.op in ("floordiv", "floormod"):
            if node.op == "floormod" or not isinstance(node.b, IntImm) or found > 1:
                return None
            found = node.b.value
    return found


def _contiguous(index: Expr, reduction: Sequence[For], width: int) -> bool:
    """Whether the loops read whole stretches of `width` elements that lie together."""
    form = linear_form(index, [loop.var for loop in reduction])
    if form is None:
        return False
    for step, extent in sorted((form.terms.get(loop.var, 0), loop.extent) for loop in reduction):
        if step != width:
            return False
        width *= extent
    return True
