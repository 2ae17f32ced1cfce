"""Schedules of a group that nobody wrote a template for: drawn from its expressions and from what a processor can run.

What they decide, and how, is `compiler.tune.generic`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from compiler.backend.cpu.direct import CODE_SIZE
from compiler.backend.cpu.elementwise import vectorize_functions
from compiler.backend.cpu.inlining import inline_cheap
from compiler.backend.cpu.parallel import TASKS
from compiler.backend.cpu.processor import Processor
from compiler.ir import Load
from compiler.te.analysis import reduces
from compiler.te.schedule import Schedule, create_schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, Tensor
from compiler.tune.generic import Abilities, generic_schedule, is_drawable
from compiler.tune.space import Knobs

#: the decision whether a group takes the general rules, and its values
SCHEDULE, GENERAL, DRAWN = "schedule", "general rules", "drawn"

_LANES = (4, 8, 16, 32, 64)
# Elements that take a fraction of a microsecond, unless each of them is a sum.
_FEW = 1 << 12
# Registers that hold parts of one sum: enough to hide the latency of an addition.
_VECTORS = 4


def takes_drawn(outputs: Sequence[Tensor], knobs: Knobs) -> bool:
    """Whether the knobs take a drawn schedule of a group, if it has any."""
    if len(outputs) != 1 or not is_drawable(outputs):
        return False
    stages = create_schedule(outputs).stages
    if not any(map(reduces, stages)) and (math.prod(outputs[0].shape) < _FEW or all(map(_moves, stages))):
        return False
    return knobs.alternative(SCHEDULE, (GENERAL, DRAWN)) == DRAWN


def _moves(stage: Stage) -> bool:
    """Whether a stage only puts elements elsewhere: the general rules do that in blocks, and tuning gains little."""
    return not isinstance(stage.op, ComputeOp) or isinstance(stage.op.body, Load)


def drawn_schedule(outputs: Sequence[Tensor], processor: Processor, knobs: Knobs) -> Schedule:
    """The schedule that the knobs say."""
    return generic_schedule(knobs, outputs, abilities(processor))


def abilities(processor: Processor) -> Abilities:
    """What schedules that are drawn may take of a processor."""
    return Abilities(
        lanes=tuple(n for n in _LANES if n <= _VECTORS * processor.lanes),
        registers=processor.registers,
        tasks=(0, TASKS[0]),
        held_bytes=processor.l2_bytes,
        code=CODE_SIZE,
        place=inline_cheap,
        arrange=vectorize_functions,
    )
