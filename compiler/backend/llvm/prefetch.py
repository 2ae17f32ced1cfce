"""Memory asked for before it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import llvmlite.ir as ir

from compiler.backend.llvm import operations as ops
from compiler.ir import Buffer, Expr, For, Load, stmt_exprs, substitute, walk_expr, walk_stmt

if TYPE_CHECKING:
    from compiler.backend.llvm.codegen import FunctionEmitter

#: a serial loop's pragma; its value: a buffer's name, and how many bytes ahead of its reads
PREFETCH = "prefetch"
#: a serial loop's annotation; its value: a `Fetch`
FETCH = "fetch"
# Where a line shall go: as near as it can, or into the second cache only.
_NEAR, _SECOND = 3, 2
_LINE_BYTES = 64


@dataclass(frozen=True)
class Fetch:
    """So many `lines` of a flat buffer from each of some elements on."""

    buffer: Buffer
    starts: tuple[Expr, ...]
    lines: int


def emit_prefetch(emitter: FunctionEmitter, loop: For) -> None:
    """At the beginning of an iteration: ask for what the loop's annotations say. What lies behind a buffer does no
    harm: a fetch never faults."""
    emitter.memo = {}
    if FETCH in loop.annotations:
        what: Fetch = loop.annotations[FETCH]
        for start in what.starts:
            for line in range(what.lines):
                _ask(emitter, what.buffer, (start,), _LINE_BYTES * line, _SECOND)
    if PREFETCH in loop.annotations:
        _fetch_ahead(emitter, loop)
    emitter.memo = {}


def _fetch_ahead(emitter: FunctionEmitter, loop: For) -> None:
    """The lines so many bytes behind those that an iteration reads of the buffer that the loop's pragma names."""
    name, distance = loop.annotations[PREFETCH]
    first = {s.var: 0 for s in walk_stmt(loop.body) if isinstance(s, For)}
    nodes = (node for s in walk_stmt(loop.body) for root in stmt_exprs(s) for node in walk_expr(root))
    loads = [node for node in nodes if isinstance(node, Load) and node.buffer.name == name]
    # Copies of an unrolled loop read the same vector, each by a lane of its own.
    places = {tuple(substitute(i, first) for i in load.indices): load.buffer for load in loads}
    for indices, buffer in places.items():
        _ask(emitter, buffer, indices, distance, _NEAR)


def _ask(emitter: FunctionEmitter, buffer: Buffer, indices: tuple[Expr, ...], distance: int, where: int) -> None:
    """Ask for the line `distance` bytes behind an element."""
    pointer, flag = ir.PointerType(), ir.IntType(32)
    fetch = ops.declared(emitter.b, "llvm.prefetch.p0", ir.VoidType(), [pointer, flag, flag, flag])
    to_read, keep, data = (ir.Constant(flag, value) for value in (0, where, 1))
    address = emitter.pointer(buffer, emitter.offset_of(buffer, indices, True), inbounds=False)
    ahead = emitter.b.gep(address, [ir.Constant(emitter.offset, distance)], source_etype=ir.IntType(8))
    emitter.b.call(fetch, [ahead, to_read, keep, data])
