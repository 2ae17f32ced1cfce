"""Structures of elements in memory: neighbouring vector loops whose lanes interleave there store all their vectors at
once, for which ARM's processors have an instruction that LLVM finds by the order of the elements."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import llvmlite.ir as ir

from compiler.arith import ZERO, Indexer
from compiler.backend.llvm import operations as ops
from compiler.backend.llvm.vectorize import can_widen, stride_of
from compiler.ir import ITEM_BYTES, For, Load, Stmt, Store, walk_expr

if TYPE_CHECKING:
    from compiler.backend.llvm.codegen import FunctionEmitter

# Elements of a structure.
_SIZES = (2, 4)


def members(stmts: Sequence[Stmt]) -> list[tuple[For, Store]]:
    """The first loops of `stmts` if together they store whole structures, a member each, in the order of memory."""
    first = _vector_store(stmts[0])
    if first is None:
        return []
    size = stride_of(first[1].buffer, first[1].indices, first[0].var)
    if size not in _SIZES or len(stmts) < size:
        return []
    found = [store for store in map(_vector_store, stmts[:size]) if store is not None]
    buffer = first[1].buffer
    indexer = Indexer()
    places = [indexer.affine(store.indices[0], {loop.var: ZERO}) for loop, store in found]
    for at, (loop, store) in enumerate(found):
        distance = places[at] - places[0]
        if store.buffer is not buffer or loop.extent != first[0].extent or distance.terms or distance.const != at:
            return []
        if stride_of(buffer, store.indices, loop.var) != size:
            return []
        if any(isinstance(node, Load) and node.buffer is buffer for node in walk_expr(store.value)):
            return []
    return found if len(found) == size else []


def _vector_store(stmt: Stmt) -> tuple[For, Store] | None:
    """A vector loop that stores something to a flat buffer, and does nothing else."""
    if not isinstance(stmt, For) or stmt.kind != "vectorized" or not isinstance(stmt.body, Store):
        return None
    store = stmt.body
    return (stmt, store) if len(store.indices) == 1 and store.buffer.dtype != "bool" and can_widen(stmt) else None


def emit(emitter: FunctionEmitter, loops: Sequence[tuple[For, Store]]) -> None:
    """Emit `members` as one store."""
    b = emitter.b
    first, store = loops[0]
    lanes = first.extent
    vectors: list[Any] = []
    address = None
    for loop, member in loops:
        with emitter.in_lanes(loop):
            emitter.memo = {}
            if address is None:
                address = emitter.pointer(store.buffer, emitter.offset_of(store.buffer, store.indices, True))
            vectors.append(ops.splat(b, emitter.expr(member.value), lanes))
    while len(vectors) > 2:
        vectors = [
            _shuffled(b, x, y, range(2 * x.type.count)) for x, y in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    order = [lane + member * lanes for lane, member in product(range(lanes), range(len(loops)))]
    x, y = vectors
    b.store(_shuffled(b, x, y, order), address, align=ITEM_BYTES[store.buffer.dtype])


def _shuffled(b: ops.Builder, x: Any, y: Any, order: Sequence[int]) -> Any:
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order)))
