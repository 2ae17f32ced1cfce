"""Memory asked for before it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import llvmlite.ir as ir

from compiler.backend.llvm import operations as ops
from compiler.ir import For, Load, stmt_exprs, substitute, walk_expr, walk_stmt

if TYPE_CHECKING:
    from compiler.backend.llvm.codegen import FunctionEmitter

#: a serial loop's pragma; its value: a buffer's name, and how many bytes ahead of its reads
PREFETCH = "prefetch"


def emit_prefetch(emitter: FunctionEmitter, loop: For) -> None:
    """At the beginning of an iteration: ask for the lines so many bytes behind those that it reads of the buffer that
    the loop's pragma names, if it has one. What lies behind the buffer does no harm: a fetch never faults."""
    if PREFETCH not in loop.annotations:
        return
    name, distance = loop.annotations[PREFETCH]
    first = {s.var: 0 for s in walk_stmt(loop.body) if isinstance(s, For)}
    nodes = (node for s in walk_stmt(loop.body) for root in stmt_exprs(s) for node in walk_expr(root))
    loads = [node for node in nodes if isinstance(node, Load) and node.buffer.name == name]
    # Copies of an unrolled loop read the same vector, each by a lane of its own.
    places = {tuple(substitute(i, first) for i in load.indices): load.buffer for load in loads}
    pointer, flag = ir.PointerType(), ir.IntType(32)
    fetch = ops.declared(emitter.b, "llvm.prefetch.p0", ir.VoidType(), [pointer, flag, flag, flag])
    to_read, keep, data = (ir.Constant(flag, value) for value in (0, 3, 1))
    emitter.memo = {}
    for indices, buffer in places.items():
        address = emitter.pointer(buffer, emitter.offset_of(buffer, indices, True), inbounds=False)
        ahead = emitter.b.gep(address, [ir.Constant(emitter.offset, distance)], source_etype=ir.IntType(8))
        emitter.b.call(fetch, [ahead, to_read, keep, data])
    emitter.memo = {}
