"""Which schedule a fused group gets: a template where one fits its reduction, else the general rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from compiler.backend.cpu import (
    convolution,
    dense,
    direct,
    dot_product,
    int8,
    int8_dense,
    int8_schedules,
    int8_winograd,
    transposed,
    transposition,
    window,
    winograd,
    winograd_schedule,
)
from compiler.backend.cpu.default_schedule import default_schedule
from compiler.backend.cpu.drawn import drawn_schedule, takes_drawn
from compiler.backend.cpu.prefetch import prefetch_rows, prefetch_weights
from compiler.backend.cpu.processor import Processor
from compiler.ops.compute import WINDOW
from compiler.te.schedule import Schedule, create_schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, Tensor
from compiler.tune.declaration import Declaration
from compiler.tune.space import Knobs

_TEMPLATES: Mapping[str, Callable[[Schedule, Stage, Stage, Processor, Knobs], None]] = {
    convolution.DIRECT: direct.schedule_direct,
    WINDOW: window.schedule_window,
    dense.DENSE: dense.schedule_dense,
    int8.MATRIX: int8_schedules.schedule_matrix,
    **dict.fromkeys(dot_product.CONVOLUTIONS, int8_schedules.schedule_dot),
    **dict.fromkeys(dot_product.DENSE, int8_dense.schedule_dense),
    int8.DEPTHWISE: int8_schedules.schedule_depthwise,
    int8_winograd.WINOGRAD: int8_winograd.schedule_winograd,
    int8.QUADS: int8_schedules.schedule_quads,
    transposed.PHASES: transposed.schedule_phases,
    winograd.WINOGRAD: winograd_schedule.schedule_winograd,
}
# Four axes and the channels of a block.
_BLOCKED_RANK = 5


def schedule_group(outputs: Sequence[Tensor], processor: Processor, knobs: Knobs | None = None) -> Schedule:
    """The schedule of a group's expressions.

    knobs: the decisions of the template, or of the schedules drawn from the group's expressions (default: what is
    expected to be fastest).
    """
    schedule = create_schedule(outputs)
    anchor = next((stage for stage in schedule.stages if _has_template(stage)), None)
    if anchor is None or len(outputs) != 1:
        if len(outputs) == 1 and transposition.applies(schedule, schedule[outputs[0]], processor):
            transposition.schedule_blocks(schedule[outputs[0]])
            return schedule
        if knobs is not None and takes_drawn(outputs, knobs):
            return drawn_schedule(outputs, processor, knobs)
        schedule = default_schedule(outputs)
        if processor.fetches_ahead:
            prefetch_rows(schedule)
        return schedule
    assert isinstance(anchor.op, ComputeOp)
    template = _TEMPLATES[anchor.op.tag]
    if anchor.is_output and anchor.op.reduce_axis:
        cached = schedule.cache_write(anchor.tensor, "local")
        out, anchor = anchor, schedule[cached]
    else:
        out = schedule[outputs[0]]
    for stage in schedule.stages:
        if _is_epilogue(schedule, anchor, stage):
            stage.compute_inline()
    template(schedule, anchor, out, processor, knobs or Declaration())
    if processor.fetches_ahead:
        prefetch_weights(schedule)
    return schedule


def _has_template(stage: Stage) -> bool:
    """Whether a stage is one of those that the templates are for; of windows, those over channels in blocks."""
    if not isinstance(stage.op, ComputeOp) or stage.op.tag not in _TEMPLATES:
        return False
    return stage.op.tag != WINDOW or stage.tensor.ndim == _BLOCKED_RANK


def _is_epilogue(schedule: Schedule, anchor: Stage, stage: Stage) -> bool:
    """Whether a stage follows the anchor's and does not leave the group, or is an operand of one that does."""
    if not isinstance(stage.op, ComputeOp) or stage.op.reduce_axis or stage.is_output:
        return False
    return stage is not anchor and not schedule.reads(anchor, stage)
