"""Memory that a kernel needs while it runs: planned by whoever calls it, in place of an allocation at every call."""

from __future__ import annotations

from compiler.ir import Allocate, Buffer, PrimFunc, Seq, Stmt, seq

# Smaller buffers lie on the stack.
_SMALLEST_BYTES = 4096


def workspaces_as_parameters(func: PrimFunc) -> PrimFunc:
    """`func` with the larger buffers that it allocates outside all loops as further parameters, behind its own."""
    found: list[Buffer] = []

    def strip(s: Stmt) -> Stmt:
        if isinstance(s, Allocate):
            body = strip(s.body)
            if s.buffer.nbytes >= _SMALLEST_BYTES:
                found.append(s.buffer)
                return body
            return Allocate(s.buffer, body)
        if isinstance(s, Seq):
            return seq(*[strip(child) for child in s.stmts])
        return s

    body = strip(func.body)
    return PrimFunc(func.name, [*func.params, *reversed(found)], body, func.attrs)
