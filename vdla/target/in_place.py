"""Accumulator stages computed in place, and the proof that nobody misses what they overwrite.

The machine's vector operations write the accumulator they read; a stage ``t[i] = f(x[i])`` with both in the
accumulators therefore shares its operand's place, and ``x`` is gone once ``t`` is there.
"""

from __future__ import annotations

from compiler.ir import Allocate, Attr, Buffer, Call, Evaluate, For, If, Load, PrimFunc, Seq, Stmt, Var
from vdla.target.errors import LoweringError
from vdla.target.fold import address

_RESULT_AND_OPERAND = {"vdla.requant": (0, 1), "vdla.alu": (1, 2)}
_ADVICE = "compute it twice, or keep it in the aux buffer"


def find_aliases(func: PrimFunc) -> dict[Buffer, Buffer]:
    """Result buffer -> operand buffer in whose place it lies, for the intrinsic calls of a lowered function.

    Raises LoweringError where the two differ in size, or the operand is read after it was overwritten.
    """
    walk = _Walk()
    walk.statement(func.body, ())
    return walk.alias


class _Walk:
    """Follows the calls in the order of the program."""

    def __init__(self) -> None:
        self.alias: dict[Buffer, Buffer] = {}
        self._loops: dict[Buffer, tuple[Var, ...]] = {}  # those around each allocation

    def statement(self, stmt: Stmt, loops: tuple[Var, ...]) -> None:
        if isinstance(stmt, Seq):
            for part in stmt.stmts:
                self.statement(part, loops)
        elif isinstance(stmt, For):
            self.statement(stmt.body, (*loops, stmt.var) if stmt.extent > 1 else loops)
        elif isinstance(stmt, Allocate):
            self._loops[stmt.buffer] = loops
            self.statement(stmt.body, loops)
        elif isinstance(stmt, Attr):
            self.statement(stmt.body, loops)
        elif isinstance(stmt, If):
            self.statement(stmt.then, loops)
            if stmt.otherwise is not None:
                self.statement(stmt.otherwise, loops)
        elif isinstance(stmt, Evaluate) and isinstance(stmt.value, Call) and stmt.value.name in _RESULT_AND_OPERAND:
            self._call(stmt.value)

    def _call(self, call: Call) -> None:
        at = _RESULT_AND_OPERAND[call.name]
        result, operand = (address(call.args[i]) for i in at)
        dst, src = result.buffer, operand.buffer
        in_place = dst is not src and dst.scope == src.scope == "acc"
        other = call.args[3] if call.name == "vdla.alu" else None
        second = address(other) if isinstance(other, Call) else None
        for read in (operand, second):
            if read is not None and read.buffer is not dst:
                self._check_alive(read, dst)
        if not in_place:
            return
        if dst.elements != src.elements:
            raise LoweringError(f"{dst!r} is computed in place of {src!r}, which has another size")
        if second is not None and second.buffer is src and second.indices != operand.indices:
            raise LoweringError(f"{dst.name} overwrites {src.name} while it reads other elements of it; {_ADVICE}")
        if self._loops.get(dst) != self._loops.get(src):
            raise LoweringError(
                f"{dst.name} overwrites {src.name}, which is computed in other loops; compute both at the same loop"
            )
        self.alias[dst] = src

    def _check_alive(self, read: Load, reader: Buffer) -> None:
        for dst, src in self.alias.items():
            if src is read.buffer and dst is not reader:
                raise LoweringError(f"{reader.name} reads {src.name}, which {dst.name} has overwritten; {_ADVICE}")
