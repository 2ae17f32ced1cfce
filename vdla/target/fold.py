"""Loop nests around one intrinsic into one instruction: two hardware loops and a micro-op kernel.

The machine runs ``for u in uops: for i in iter_out: for j in iter_in``.  Given the perfect nest of loops around an
intrinsic call, the two innermost data-parallel loops (those that neither decide whether an accumulator is overwritten
nor select a parameter entry) become the hardware loops; the others, in the order of the nest, are unrolled into
micro-ops; loops that would make too many micro-ops are left around the instruction.  Moving data-parallel loops
inwards does not change a result: for each accumulator the order of the operations stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from compiler.ir import Call, Expr, IntImm, Load, Var, free_vars
from hw.isa import COUNT_BITS
from vdla.target.affine import Split, compile_expr
from vdla.target.errors import LoweringError

MOST = (1 << COUNT_BITS) - 1
"""Iterations of one hardware loop, at most."""

UopTuple = tuple[int, int, int, bool]  # dst, src, wgt, overwrite


def address(expr: Expr | str) -> Load:
    """The buffer element of an ``address_of`` argument."""
    if isinstance(expr, Call) and expr.name == "address_of" and isinstance(expr.args[0], Load):
        return expr.args[0]
    raise LoweringError(f"expected the address of a buffer element, found {expr}")


@dataclass
class Operand:
    """One operand of a folded instruction: its vectors as ``base(outer) + sum coefficient * loop variable``."""

    load: Load
    coefficients: list[int]  # vectors a step, one a loop of the nest
    base: Callable[..., int]  # elements
    vector: int  # elements a vector


class Folded:
    """The nest of ``loops`` around one operation, folded.

    Args:
        loops: (variable, extent) from outermost to innermost.
        outer: variables of the loops around the nest.
        operands: name -> (address, elements a vector); at least ``dst``; ``src`` and ``wgt`` go to micro-ops.
        first: when true the operation overwrites its accumulator.
        in_uops: operands that may move only from micro-op to micro-op (REQUANT's parameters).
        uop_limit: longest micro-op kernel.
    """

    def __init__(
        self,
        loops: Sequence[tuple[Var, int]],
        outer: Sequence[Var],
        operands: dict[str, tuple[Load, int]],
        first: Expr,
        uop_limit: int,
        in_uops: Sequence[str] = (),
    ) -> None:
        self.loops = [(v, n) for v, n in loops if n > 1]
        zero = [v for v, n in loops if n == 1]
        inner = [v for v, _ in loops]
        self.operands: dict[str, Operand] = {}
        for name, (load, vector) in operands.items():
            split = Split(load.indices[0], inner)
            if split.others:
                raise LoweringError(f"{load} does not step evenly through {load.buffer.name}")
            steps = []
            for v, _ in self.loops:
                if split.coefficients[v] % vector:
                    raise LoweringError(f"{load}: {v.name} steps by part of a vector of {vector} elements")
                steps.append(split.coefficients[v] // vector)
            self.operands[name] = Operand(load, steps, compile_expr(split.base, outer), vector)
        deciding = {v for v in free_vars(first) if v not in zero}
        fixed = [any(self.operands[n].coefficients[i] for n in in_uops) for i in range(len(self.loops))]
        movable = [v not in deciding and not fixed[i] and n <= MOST for i, (v, n) in enumerate(self.loops)]
        order = self._merge([i for i in range(len(self.loops)) if movable[i]])
        self.hardware = order[-2:]
        taken = {i for chain in self.hardware for i in chain}
        rest = [i for i in range(len(self.loops)) if i not in taken]
        count = 1
        split_at = len(rest)
        while split_at and count * self.loops[rest[split_at - 1]][1] <= uop_limit:
            split_at -= 1
            count *= self.loops[rest[split_at]][1]
        self.around, self.unrolled = rest[:split_at], rest[split_at:]
        if zero:
            first = _at_zero(first, zero)
        self.first = compile_expr(first, (*outer, *(self.loops[i][0] for i in (*self.around, *self.unrolled))))
        self.constant_first = isinstance(first, IntImm)

    def _merge(self, movable: list[int]) -> list[tuple[int, ...]]:
        """Neighbouring movable loops that step as one, as chains from outer to inner."""
        chains: list[tuple[int, ...]] = []
        for i in movable:
            if chains and chains[-1][-1] == i - 1:
                extent = self.loops[i][1]
                if math.prod(self.loops[j][1] for j in (*chains[-1], i)) <= MOST and all(
                    o.coefficients[i - 1] == o.coefficients[i] * extent for o in self.operands.values()
                ):
                    chains[-1] = (*chains[-1], i)
                    continue
            chains.append((i,))
        return chains

    def hardware_loop(self, which: int) -> tuple[int, dict[str, int]]:
        """Iterations and steps (operand -> vectors) of the outer (0) or inner (1) hardware loop."""
        at = len(self.hardware) - 2 + which
        if at < 0:
            return 1, dict.fromkeys(self.operands, 0)
        chain = self.hardware[at]
        count = 1
        for i in chain:
            count *= self.loops[i][1]
        return count, {name: o.coefficients[chain[-1]] for name, o in self.operands.items()}

    def base(self, name: str, values: Sequence[int]) -> int:
        """First vector of an operand, relative to its buffer, for the enclosing loops at ``values``."""
        o = self.operands[name]
        elements = o.base(*values)
        vector, remainder = divmod(elements, o.vector)
        if remainder:
            raise LoweringError(f"{o.load} starts inside a vector of {o.vector} elements")
        return vector

    def instances(self, values: Sequence[int]) -> list[tuple[dict[str, int], tuple[UopTuple, ...]]]:
        """For each instruction of the nest: operand -> offset in vectors, and the micro-ops."""
        out = []
        zeros = (0,) * len(self.unrolled)
        for at in product(*(range(self.loops[i][1]) for i in self.around)):
            offsets = {
                name: sum(k * o.coefficients[i] for k, i in zip(at, self.around, strict=True))
                for name, o in self.operands.items()
            }
            overwrite = self.first(*values, *at, *zeros)  # false at the origin: false everywhere
            out.append((offsets, self._uops(tuple(values), at) if overwrite else self._uops_plain))
        return out

    @cached_property
    def _steps(self) -> list[tuple[int, ...]]:
        """The unrolled loops' iterations, one a micro-op."""
        return list(product(*(range(self.loops[i][1]) for i in self.unrolled)))

    @cached_property
    def _uops_plain(self) -> tuple[UopTuple, ...]:
        """The micro-ops where none of them overwrites."""

        def offset(name: str, at: tuple[int, ...]) -> int:
            o = self.operands.get(name)
            return 0 if o is None else sum(k * o.coefficients[i] for k, i in zip(at, self.unrolled, strict=True))

        return tuple((offset("dst", at), offset("src", at), offset("wgt", at), False) for at in self._steps)

    def _uops(self, values: tuple[int, ...], around: tuple[int, ...]) -> tuple[UopTuple, ...]:
        first, steps = self.first, zip(self._steps, self._uops_plain, strict=True)
        return tuple((dst, src, wgt, bool(first(*values, *around, *at))) for at, (dst, src, wgt, _) in steps)


def _at_zero(expr: Expr, variables: Sequence[Var]) -> Expr:
    from compiler.ir import substitute

    return substitute(expr, dict.fromkeys(variables, 0))
