"""Schedules of a computation that nobody wrote a template for: the knobs are drawn from its stages and from what a
target can run.

The last stage's leading loops are the nest.  Whatever is needed for one iteration of them only is computed inside:
every row of a softmax with its maximum and its sum, every tile of a convolution just before what follows it.  The knobs
say how deep in the nest that is, how long the tiles there are, whether tasks run the outer loops, and, for all
reductions alike, whether vectors hold neighbouring elements or parts of one element's reduction.  Where nothing is
reduced they say which loop is the innermost, in which blocks it runs, and how long its vectors are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from compiler.ir import ITEM_BYTES
from compiler.te.analysis import is_dense, loads_of, reduces, shared_loops
from compiler.te.schedule import Schedule, create_schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar, PlaceholderOp, Tensor
from compiler.te.tiling import divisor, parallelize_leading
from compiler.tune.space import Knobs, Values

_NEIGHBOURS, _PARTS, _NONE = "neighbours", "parts of a reduction", "none"
_LONGEST = (16, 64)
"""Iterations of a tile along the last two loops of the nest."""
_STEPS = (1, 2, 4)
_SIDES, _BLOCKS = (4, 8, 16, 32), (16, 32, 64)
"""Iterations of a block of elements across the innermost loop and along it."""
_SHORTEST = 4
"""Iterations of a loop that may become the innermost."""


@dataclass(frozen=True)
class Abilities:
    """What a target can run, as far as schedules are drawn from it.

    Attributes:
        lanes: lengths of vectors.
        registers: vectors that may hold the sums of a tile.
        tasks: into how many tasks the outer loops may be cut, 0 for none.
        held_bytes: of what is computed inside loops and held there.
        code: operations that may be written out in a loop.
        place: inlines the stages that are recomputed where they are read; None: that is a decision, too.
        arrange: the loops of a stage that does not reduce, as the target likes them; None: as they are.
    """

    lanes: tuple[int, ...] = (4, 8, 16)
    registers: int = 16
    tasks: tuple[int, ...] = (0,)
    held_bytes: int = 32 << 10
    code: int = 64
    place: Callable[[Schedule], None] | None = None
    arrange: Callable[[Schedule, Stage], None] | None = None

    def arrange_elements(self, schedule: Schedule, stage: Stage) -> None:
        """Arrange the loops of a stage that does not reduce."""
        if self.arrange is not None:
            self.arrange(schedule, stage)


@dataclass(frozen=True)
class _Nest:
    """How much is computed inside the output's leading ``depth`` loops, the last of which run over tiles.

    ``shared``: how many of the output's leading loops each stage may be computed in.
    """

    shared: Mapping[Stage, int]
    depth: int
    tile: tuple[int, ...]

    @property
    def untiled(self) -> int:
        """Loops around those over tiles."""
        return self.depth - len(self.tile)

    def place(self, stage: Stage) -> int:
        """In how many loops a stage is computed."""
        return min(self.depth, self.shared[stage])

    def region(self, stage: Stage) -> list[int]:
        """What is computed of a stage at a time, at most."""
        inside, shape = self.place(stage), stage.tensor.shape
        tiles = (*(1,) * self.untiled, *self.tile)
        return [tiles[k] if k < inside else extent for k, extent in enumerate(shape)]


@dataclass(frozen=True)
class _Reduction:
    """How reductions run: what vectors of ``lanes`` hold, and ``steps`` that are written out."""

    vectors: str
    lanes: int
    steps: int


def is_drawable(outputs: Sequence[Tensor]) -> bool:
    """Whether a computation has the form that these schedules are for: no recurrence, and loops to arrange."""
    known = all(isinstance(stage.op, ComputeOp | PlaceholderOp) for stage in create_schedule(outputs).stages)
    return known and all(output.ndim for output in outputs)


def generic_schedule(knobs: Knobs, outputs: Sequence[Tensor], on: Abilities = Abilities()) -> Schedule:
    """The schedule that the knobs say, of a computation of ``outputs`` for which :func:`is_drawable`.

    >>> from compiler import te
    >>> from compiler.tune.declaration import declare
    >>> a = te.placeholder((4, 8), "float32", "a")
    >>> k = te.reduce_axis(8, "k")
    >>> total = te.compute((4,), lambda i: te.sum(a[i, k] * 2.0, axis=k), "total")
    >>> space = declare(generic_schedule, [total])
    >>> [knob.name for knob in space.knobs], len(space)
    (['depth', 'tile', 'tasks', 'vectors', 'lanes', 'steps'], 24)
    >>> values = {"depth": 1, "tile": (4,), "tasks": 0, "vectors": "neighbours", "lanes": 4, "steps": 2}
    >>> generic_schedule(space.find(values), [total]).show()
    total_local = allocate(float32[4], scope='local')
    for i_inner_init in vectorized(4):
        total_local[i_inner_init] = 0.0
    for k_outer in range(4):
        for k_inner in unrolled(2):
            for i_inner in vectorized(4):
                total_local[i_inner] = total_local[i_inner] + a[i_inner, k_outer * 2 + k_inner] * 2.0
    for i_inner_1 in range(4):
        total[i_inner_1] = total_local[i_inner_1]
    """
    schedule = create_schedule(list(outputs))
    out = schedule.stages[-1]
    if reduces(out):
        schedule.cache_write(out.tensor, "local")
    if on.place is not None:
        on.place(schedule)
    else:
        _ask_places(knobs, schedule)
    stored = [s for s in schedule.stages if isinstance(s.op, ComputeOp) and not s.inlined and s is not out]
    sums = [stage for stage in stored if reduces(stage)]
    if not sums:
        for stage in stored:
            on.arrange_elements(schedule, stage)
        _arrange_blocks(knobs, out, on)
        return schedule
    shared = shared_loops(schedule, out)
    deepest = max(shared[stage] for stage in sums)
    depth = knobs.alternative("depth", [d for d in dict.fromkeys((deepest, deepest - 1, 0)) if d >= 0])
    nest = _Nest(shared, depth, knobs.choice("tile", _tiles(out.tensor.shape[:depth])))
    tasks = knobs.choice("tasks", on.tasks)
    lanes = on.lanes or (1,)
    how = _Reduction(
        knobs.choice("vectors", (_NEIGHBOURS, _PARTS, _NONE) if on.lanes else (_NONE,)),
        knobs.choice("lanes", lanes),
        knobs.choice("steps", _STEPS),
    )
    _require(knobs, stored, sums, nest, lanes, on)

    for stage in stored:
        alone = 0 if nest.place(stage) else tasks
        if stage in sums:
            _arrange(schedule, stage, nest, how, alone)
        elif nest.place(stage) < stage.tensor.ndim:
            on.arrange_elements(schedule, stage)
            if alone:
                parallelize_leading(stage, stage.leaf_iter_vars[: stage.tensor.ndim - 1], alone)
    _enclose(schedule, out, [stage for stage in stored if nest.place(stage)], nest, tasks, on)
    return schedule


def _ask_places(knobs: Knobs, schedule: Schedule) -> None:
    """Which stages are stored, the others being recomputed where they are read."""
    between = [s for s in schedule.stages if isinstance(s.op, ComputeOp) and not reduces(s) and not s.must_store]
    choices: dict[str, list[Stage]] = {
        "nothing": [],
        "what is reduced": [stage for stage in between if any(map(reduces, schedule.readers_of(stage)))],
        "everything": between,
    }
    different = {name: found for name, found in choices.items() if name == "nothing" or found}
    if different.get("what is reduced") == between:
        del different["what is reduced"]
    stored = different[knobs.alternative("stored", tuple(different))] if len(different) > 1 else []
    for stage in between:
        if stage not in stored:
            stage.compute_inline()


def _axes(stage: Stage) -> tuple[list[IterVar], list[IterVar]]:
    """Data and reduce axes of the stage as it is now."""
    assert isinstance(stage.op, ComputeOp)
    return list(stage.op.axis), list(stage.op.reduce_axis)


def _tiles(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Tiles without a rest, of the last loops of a nest over `shape`."""
    count = min(len(shape), len(_LONGEST))
    limits = zip(shape[len(shape) - count :], _LONGEST[len(_LONGEST) - count :], strict=True)
    return list(itertools.product(*([d for d in range(1, most + 1) if n % d == 0] for n, most in limits)))


# ------------------------------------------------------------------------------------------------ what is sensible


def _require(
    knobs: Knobs, stored: Sequence[Stage], sums: Sequence[Stage], nest: _Nest, lanes: Sequence[int], on: Abilities
) -> None:
    lasts = [_axes(stage)[1][-1].extent for stage in sums]

    def at_tile(at: Values) -> _Nest:
        return _Nest(nest.shared, nest.depth, at["tile"])

    def whole(at: Values) -> bool:
        if at["vectors"] == _NONE:
            return at["lanes"] == lanes[0]
        if at["vectors"] == _PARTS:
            return any(extent >= at["lanes"] for extent in lasts)
        here = at_tile(at)
        rows = [[n for n in here.region(stage) if n > 1][-1:] for stage in sums]
        return any(row and row[0] % at["lanes"] == 0 for row in rows)

    def apart(at: Values) -> bool:
        return at["vectors"] != _PARTS or math.prod(at["tile"]) == 1

    def vectors(at: Values) -> int:
        return -(-math.prod(at["tile"]) // (at["lanes"] if at["vectors"] == _NEIGHBOURS else 1))

    def fits_registers(at: Values) -> bool:
        return vectors(at) <= on.registers

    def short(at: Values) -> bool:
        return vectors(at) * at["steps"] <= on.code

    def written_out(at: Values) -> bool:
        each = at["lanes"] if at["vectors"] == _PARTS else 1
        return any(-(-extent // each) % at["steps"] == 0 for extent in lasts)

    def held(at: Values) -> bool:
        here = at_tile(at)
        inside = [stage for stage in stored if here.place(stage)]
        return sum(math.prod(here.region(s)) * ITEM_BYTES[s.tensor.dtype] for s in inside) <= on.held_bytes

    knobs.require("parts of a reduction are added up element by element", apart)
    knobs.require("vectors are whole somewhere", whole)
    knobs.require("sums of a tile fit the registers", fits_registers)
    knobs.require("unrolled code is short", short)
    knobs.require("steps that are written out divide a reduction", written_out)
    knobs.require("what is held inside the loops fits near the core", held)


# ------------------------------------------------------------------------------------------------ loops


def _arrange(schedule: Schedule, stage: Stage, nest: _Nest, how: _Reduction, tasks: int) -> None:
    """The loops of a reduction: a tile's elements innermost, unrolled or as vectors; outer ones as `tasks`, if any."""
    data, reduction = _axes(stage)
    if how.vectors == _PARTS and reduction[-1].extent >= how.lanes:
        _add_parts(schedule, stage, how, tasks)
        return
    region = nest.region(stage)
    inner = [data[k] for k in range(max(0, nest.untiled), nest.place(stage)) if region[k] > 1]
    outer = [axis for axis in data if axis not in inner]
    lane: list[IterVar] = []
    last = max((k for k, extent in enumerate(region) if extent > 1), default=None)
    if how.vectors == _NEIGHBOURS and last is not None and (size := divisor(region[last], how.lanes)) > 1:
        loops = inner if data[last] in inner else outer
        at = loops.index(data[last])
        loops[at], vector = stage.split(data[last], factor=size)
        stage.vectorize(vector)
        lane = [vector]
    steps = _written_out(stage, reduction, how.steps)
    stage.reorder(*outer, *steps, *inner, *lane)
    for axis in inner:
        stage.unroll(axis)
    if tasks and outer:
        parallelize_leading(stage, outer, tasks)


def _add_parts(schedule: Schedule, stage: Stage, how: _Reduction, tasks: int) -> None:
    """Each lane of a vector reduces a part of an element, then the lanes are reduced."""
    data, reduction = _axes(stage)
    _, lane = stage.split(reduction[-1], factor=how.lanes)
    parts = schedule[schedule.rfactor(stage.tensor, lane)]
    (vector, *elements), rest = _axes(parts)
    steps = _written_out(parts, rest, how.steps) if rest else []
    parts.reorder(*elements, *steps, vector)
    parts.vectorize(vector)
    stage.unroll(_axes(stage)[1][0])
    if not data:
        return
    task = parallelize_leading(stage, data, tasks) if tasks else None
    parts.compute_at(stage, task if task is not None and data[-1] not in stage.leaf_iter_vars else data[-1])


def _written_out(stage: Stage, reduction: Sequence[IterVar], steps: int) -> list[IterVar]:
    """The loops of a reduction, steps of the last of them unrolled."""
    count = divisor(reduction[-1].extent, steps)
    if count == 1:
        return list(reduction)
    outer, written = stage.split(reduction[-1], factor=count)
    stage.unroll(written)
    return [*reduction[:-1], outer, written]


def _enclose(schedule: Schedule, out: Stage, inside: Sequence[Stage], nest: _Nest, tasks: int, on: Abilities) -> None:
    """Compute the stages `inside` the loops of the last one."""
    data, _ = _axes(out)
    loops, tiles = data[: nest.untiled], []
    for axis, size in zip(data[nest.untiled : nest.depth], nest.tile, strict=True):
        block, within = (axis, None) if size == 1 else out.split(axis, factor=size)
        loops.append(block)
        tiles += [] if within is None else [within]
    out.reorder(*loops, *tiles, *data[nest.depth :])
    if nest.depth < len(data):
        on.arrange_elements(schedule, out)
    task = None
    if tasks:
        # Nothing is computed at a loop around another one's that is part of the same task.
        around = min((nest.place(stage) for stage in inside), default=max(1, len(data) - 1))
        task = parallelize_leading(out, loops[:around] if inside else data[:around], tasks)
    for stage in inside:
        loop = loops[nest.place(stage) - 1]
        stage.compute_at(out, loop if task is None or loop in out.leaf_iter_vars else task)


def _arrange_blocks(knobs: Knobs, out: Stage, on: Abilities) -> None:
    """The loops of elements that are computed by themselves: blocks along an axis that something lies together along,
    and across it."""
    data, _ = _axes(out)
    assert isinstance(out.op, ComputeOp)
    loads = loads_of(out.op)
    last = len(data) - 1
    turned = [
        k
        for k, axis in enumerate(data[:-1])
        if axis.extent >= _SHORTEST and any(is_dense(load, axis) for load in loads)
    ]
    inner = knobs.alternative("innermost", (last, *turned))
    along, others = data[inner], [axis for axis in data if axis is not data[inner]]
    lengths = sorted({divisor(along.extent, most) for most in _BLOCKS} | {along.extent})
    sides = sorted({1} | {divisor(others[-1].extent, most) for most in _SIDES}) if others else [1]
    side, length = knobs.choice("block", list(itertools.product(sides, lengths)))
    lanes = knobs.choice("lanes", (1, *on.lanes))
    tasks = knobs.choice("tasks", on.tasks)
    knobs.require("vectors are whole", lambda at: at["block"][1] % at["lanes"] == 0)

    outer, inside = list(others), [along]
    if side > 1:
        outer[-1], within = out.split(others[-1], factor=side)
        inside.insert(0, within)
    if length < along.extent:
        blocks, inside[-1] = out.split(along, factor=length)
        outer.append(blocks)
    if lanes > 1:
        inside[-1:] = out.split(inside[-1], factor=lanes)
        out.vectorize(inside[-1])
    out.reorder(*outer, *inside)
    if tasks and outer:
        parallelize_leading(out, outer, tasks)
