"""Features of a loop program for the cost models: what it touches, how often and how it reuses it, loop by loop.

As in the paper (section 5.2): for every access to a buffer and every loop around it, how many elements the loop touches
and how often it comes back to them; the annotations of the loops one-hot.  Programs have different numbers of loops, so
the values along an access' loops are sampled where the loops have run ``4**k`` times: two programs are compared at
equal numbers of executions, and loops of one iteration make no difference.

A :class:`LoopTable` holds many programs of one template in arrays, and :func:`table_features` computes their features
together.  :func:`program_table` reads a table off one lowered program; a template that can write the table down from
its knobs has the features of thousands of candidates without lowering one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from compiler.arith import linear_form
from compiler.ir import (
    ITEM_BYTES,
    Allocate,
    Buffer,
    Evaluate,
    Expr,
    For,
    Load,
    PrimFunc,
    Seq,
    Stmt,
    Store,
    Var,
    free_vars,
    walk_expr,
)
from compiler.ir.stmt import LOOP_KINDS
from compiler.ir.traverse import stmt_children, stmt_exprs
from compiler.tune.space import ConfigSpace

SAMPLES = tuple(4**k for k in range(9))
"""Numbers of executions at which touched elements and reuse are sampled."""

ACCESSES = 24
"""Accesses of a program that have features; of more, those that are executed most often."""

_PER_ACCESS = 4 + 2 * len(SAMPLES)
_KINDS = LOOP_KINDS[1:]  # how a loop is annotated: serial ones are not
FEATURES = ACCESSES * _PER_ACCESS + 2 * len(_KINDS)
"""Features of a program."""


@dataclass(frozen=True)
class LoopTable:
    """The loops and accesses of some programs with the same statements.

    Attributes:
        extents: int64 [programs, accesses, loops], outermost loop first; 1 where an access has fewer loops.
        steps: int64 [programs, accesses, dimensions, loops]: by how much an index moves in an iteration.
        sizes: int64 [programs, accesses, dimensions]: extents of the buffer (1 for missing dimensions).
        launches: int64 [programs, accesses]: how often the pragma'd loop nest around an access starts (a transfer of
            an accelerator), 0 without one.
        kinds: int64 [programs, annotations, 2]: for each kind of loop but the serial ones, how many there are and the
            longest extent (loops of one iteration do not count).

    Accesses are in the order of their buffers' names, those of one buffer in program order: where a stage is computed
    does not move the others.
    """

    extents: np.ndarray
    steps: np.ndarray
    sizes: np.ndarray
    launches: np.ndarray
    kinds: np.ndarray


@dataclass(frozen=True)
class _Levels:
    """Of every access of some programs, what holds at each of its loops, float [programs, accesses, loops + 1]; the
    last place is inside all of them.

    ``executed``: how often the loop starts.  ``inside``: iterations of it and of those in it.  ``touched``: elements
    that these touch.
    """

    executed: np.ndarray
    inside: np.ndarray
    touched: np.ndarray

    @staticmethod
    def of(table: LoopTable) -> _Levels:
        extents = table.extents[:, :ACCESSES].astype(float)
        ones = np.ones((*extents.shape[:2], 1))
        executed = np.concatenate([ones, np.cumprod(extents, axis=2)], axis=2)
        moved = np.abs(table.steps[:, :ACCESSES]) * (extents - 1)[:, :, None, :]
        spans = np.cumsum(moved[..., ::-1], axis=3)[..., ::-1]
        spans = np.concatenate([spans, np.zeros_like(spans[..., :1])], axis=3) + 1
        touched = np.minimum(spans, table.sizes[:, :ACCESSES, :, None]).prod(axis=2)
        return _Levels(executed, executed[:, :, -1:] / executed, touched)


def table_features(table: LoopTable) -> np.ndarray:
    """Features of the programs, float32 [programs, FEATURES]; counts as logarithms to base 2."""
    levels = _Levels.of(table)
    executed, inside, touched = levels.executed, levels.inside, levels.touched
    programs, accesses, loops = executed.shape[0], executed.shape[1], executed.shape[2] - 1
    reuse = inside / touched
    out = np.zeros((programs, ACCESSES, _PER_ACCESS), np.float32)
    out[:, :accesses, 0] = _log(executed[:, :, -1])
    out[:, :accesses, 1] = _log(touched[:, :, 0])
    out[:, :accesses, 2] = _log(inside[:, :, 0] / touched[:, :, 0])
    out[:, :accesses, 3] = _log(table.launches[:, :ACCESSES] + 1)
    for k, count in enumerate(SAMPLES):
        level = np.where((executed >= count).any(axis=2), (executed >= count).argmax(axis=2), loops)[:, :, None]
        out[:, :accesses, 4 + 2 * k] = _log(np.take_along_axis(touched, level, 2)[:, :, 0])
        out[:, :accesses, 5 + 2 * k] = _log(np.take_along_axis(reuse, level, 2)[:, :, 0])
    kinds = _log(table.kinds.reshape(programs, -1) + 1).astype(np.float32)
    return np.concatenate([out.reshape(programs, -1), kinds], axis=1)


TREE_LOOPS = 16
"""Loops around an access that the tree of a program has; of deeper nests the innermost."""

TREE_FEATURES = 8
"""Features of a loop in the tree of a program."""


def table_trees(table: LoopTable) -> np.ndarray:
    """The programs as trees for recurrent models, float32 [programs, ACCESSES * TREE_LOOPS * TREE_FEATURES].

    A program is the set of its accesses, an access the chain of the loops around it, innermost first.  A loop: whether
    it is there (extent above 1), its extent, how often it starts, elements touched and reuse, whether it moves the
    access at all and whether along neighbouring elements, and (the same for all loops) the transfers it is part of.
    """
    levels = _Levels.of(table)
    extents = table.extents[:, :ACCESSES]
    steps = np.abs(table.steps[:, :ACCESSES])
    moves = steps.any(axis=2)
    unit = (steps[:, :, -1] == 1) & (steps[:, :, :-1] == 0).all(axis=2) if steps.shape[2] else moves
    launches = np.broadcast_to(table.launches[:, :ACCESSES, None], extents.shape)
    there = extents > 1
    columns = (
        there,
        _log(extents),
        _log(levels.executed[..., :-1]),
        _log(levels.touched[..., :-1]),
        _log(levels.inside[..., :-1] / levels.touched[..., :-1]),
        moves,
        unit,
        _log(launches + 1),
    )
    values = np.stack([np.where(there, column, 0.0) for column in columns], axis=3)[:, :, ::-1]
    out = np.zeros((len(extents), ACCESSES, TREE_LOOPS, TREE_FEATURES), np.float32)
    kept = min(TREE_LOOPS, values.shape[2])
    out[:, : values.shape[1], :kept] = values[:, :, :kept]
    return out.reshape(len(extents), -1)


def _log(values: np.ndarray) -> np.ndarray:
    return np.log2(np.maximum(values, 2.0**-40))


# ------------------------------------------------------------------------------------------------ reading a program


@dataclass
class _Access:
    buffer: Buffer
    indices: tuple[Expr, ...]
    loops: tuple[For, ...]
    launches: int

    @property
    def executed(self) -> int:
        """How often."""
        return math.prod(loop.extent for loop in self.loops)


@dataclass
class _Walk:
    accesses: list[_Access] = field(default_factory=list)
    kinds: dict[str, list[int]] = field(default_factory=lambda: {kind: [0, 0] for kind in LOOP_KINDS})

    def visit(self, stmt: Stmt, loops: tuple[For, ...], executed: int, launches: int) -> None:
        if isinstance(stmt, For):
            if stmt.extent > 1:
                count = self.kinds[stmt.kind]
                count[0], count[1] = count[0] + 1, max(count[1], stmt.extent)
            if stmt.annotations and not launches:
                launches = executed
            self.visit(stmt.body, (*loops, stmt), executed * stmt.extent, launches)
            return
        for buffer, indices in _touched(stmt):
            self.accesses.append(_Access(buffer, indices, loops, launches))
        for child in stmt_children(stmt):
            self.visit(child, loops, executed, launches)


def _touched(stmt: Stmt) -> Iterator[tuple[Buffer, tuple[Expr, ...]]]:
    """What a statement itself writes and reads, in a fixed order, equal accesses once."""
    if isinstance(stmt, Seq | Allocate):
        return
    seen: set[tuple[Buffer, tuple[Expr, ...]]] = set()
    if isinstance(stmt, Store):
        seen.add((stmt.buffer, stmt.indices))
        yield stmt.buffer, stmt.indices
    value = stmt.value if isinstance(stmt, Store | Evaluate) else None
    for expr in (value,) if value is not None else stmt_exprs(stmt):
        for load in walk_expr(expr):
            if isinstance(load, Load) and (load.buffer, load.indices) not in seen:
                seen.add((load.buffer, load.indices))
                yield load.buffer, load.indices


def program_table(func: PrimFunc) -> LoopTable:
    """The table of one program as ``make_loops`` leaves it: buffers with their dimensions, threads and what is to be
    written out as loops.  After the passes that follow, neighbouring elements and reuse do not show any more: buffers
    are flat, and a tile in registers is hundreds of accesses.

    An index that is not affine counts as running through all values that its loops can give it.
    """
    walk = _Walk()
    walk.visit(func.body, (), 1, 0)
    kept = sorted(range(len(walk.accesses)), key=lambda k: -walk.accesses[k].executed)[:ACCESSES]
    accesses = sorted((walk.accesses[k] for k in sorted(kept)), key=lambda access: access.buffer.name)
    loops = max((len(a.loops) for a in accesses), default=0)
    dims = max((len(a.buffer.shape) for a in accesses), default=0)
    shape = (1, len(accesses))
    extents, sizes = np.ones((*shape, loops), np.int64), np.ones((*shape, dims), np.int64)
    steps = np.zeros((*shape, dims, loops), np.int64)
    launches = np.zeros(shape, np.int64)
    memo: dict[tuple[Expr, tuple[Var, ...]], list[int]] = {}
    for a, access in enumerate(accesses):
        variables = tuple(loop.var for loop in access.loops)
        extents[0, a, : len(variables)] = [loop.extent for loop in access.loops]
        sizes[0, a, : len(access.buffer.shape)] = access.buffer.shape
        launches[0, a] = access.launches
        for d, index in enumerate(access.indices):
            key = (index, variables)
            if key not in memo:
                memo[key] = _steps(index, access.loops)
            steps[0, a, d, : len(variables)] = memo[key]
    kinds = np.array([[walk.kinds[kind] for kind in _KINDS]], np.int64)
    return LoopTable(extents, steps, sizes, launches, kinds)


def _steps(index: Expr, loops: Sequence[For]) -> list[int]:
    """By how much ``index`` moves in an iteration of each loop."""
    form = linear_form(index, [loop.var for loop in loops])
    if form is not None:
        return [form.terms.get(loop.var, 0) for loop in loops]
    free = free_vars(index)
    out, step = [], 1
    for loop in reversed(loops):
        out.append(step if loop.var in free else 0)
        step *= loop.extent if loop.var in free else 1
    return out[::-1]


def program_features(func: PrimFunc) -> np.ndarray:
    """Features of one lowered program, float32 [FEATURES]."""
    return table_features(program_table(func))[0]


def global_bytes(func: PrimFunc) -> int:
    """Bytes that a program moves to and from global memory, all iterations counted."""
    walk = _Walk()
    walk.visit(func.body, (), 1, 0)
    total = 0
    for access in walk.accesses:
        if access.buffer.scope == "global":
            total += access.executed * ITEM_BYTES[access.buffer.dtype]
    return total


# ------------------------------------------------------------------------------------------------ of points


class ProgramFeatures:
    """Features of points by lowering each one, once.

    Args:
        lower: the loop program of a point.
    """

    def __init__(self, lower: Callable[[int], PrimFunc]) -> None:
        self._lower = lower
        self._rows: dict[int, np.ndarray] = {}

    def __call__(self, indices: Sequence[int]) -> np.ndarray:
        for index in indices:
            if index not in self._rows:
                self._rows[index] = program_features(self._lower(index))
        return np.stack([self._rows[index] for index in indices])


class KnobFeatures:
    """The knobs themselves as features, for many points at once: logarithms of numbers and factors, names one-hot.

    They need no lowering and hold all there is to know about a point, but nothing of it carries over to another shape.
    """

    def __init__(self, space: ConfigSpace) -> None:
        self._space = space
        self._tables = [_knob_columns(knob.values) for knob in space.knobs]

    def __call__(self, indices: Sequence[int]) -> np.ndarray:
        digits = self._space.digit_matrix(indices)
        return np.concatenate([table[digits[:, k]] for k, table in enumerate(self._tables)], axis=1)


def _knob_columns(values: Sequence[object]) -> np.ndarray:
    """One row of features a value, float32."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    if len({len(row) for row in rows}) > 1:
        return np.eye(len(rows), dtype=np.float32)
    columns: list[np.ndarray] = []
    for column in zip(*rows, strict=True):
        if all(isinstance(v, int | float) and v >= 0 for v in column):
            columns.append(np.log2(1.0 + np.array(column, float))[:, None])
        else:
            names = sorted({repr(v) for v in column})
            columns.append(np.array([[repr(v) == name for name in names] for v in column], float))
    return np.concatenate(columns, axis=1).astype(np.float32)
