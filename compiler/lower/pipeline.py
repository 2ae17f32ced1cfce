"""Lowering: one flat list of named passes from a schedule to loop IR over flat buffers.

Each pass is timed, can be printed before and after, and the IR is verified after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from compiler.ir import PrimFunc
from compiler.ir.verify import verify
from compiler.lower.double_buffer import double_buffer
from compiler.lower.flatten_storage import flatten_storage
from compiler.lower.inject_vthreads import inject_vthreads
from compiler.lower.make_loops import make_loops
from compiler.lower.simplify import remove_no_ops, simplify
from compiler.lower.unroll import unroll
from compiler.te.errors import ScheduleError
from compiler.te.schedule import Schedule
from compiler.te.tensor import Tensor


@dataclass(frozen=True)
class Pass:
    """One step of lowering.  A target's own pass may name the pass it runs ``before``; else it runs after all."""

    name: str
    run: Callable[[PrimFunc], PrimFunc]
    before: str = ""


#: what happens between ``make_loops`` and a target's code generator, in this order
PASSES: tuple[Pass, ...] = (
    Pass("double_buffer", double_buffer),
    Pass("inject_vthreads", inject_vthreads),
    Pass("unroll", unroll),
    Pass("flatten_storage", flatten_storage),
    Pass("simplify", simplify),
    Pass("remove_no_ops", remove_no_ops),
)


@dataclass
class PassContext:
    """How a lowering is watched.

    Attributes:
        dump: names of the passes to print before and after (``"all"``: every one; ``"make_loops"``: the first nest).
        emit: where the printed text goes.
        verify: check the IR after every pass.
        until: stop after the pass of this name.
        timings: filled with pass name -> seconds.
    """

    dump: Iterable[str] | str = ()
    emit: Callable[[str], None] = print
    verify: bool = True
    until: str = ""
    timings: dict[str, float] = field(default_factory=dict)

    def shows(self, name: str) -> bool:
        return self.dump == "all" or name in self.dump


def lower(
    schedule: Schedule,
    args: Sequence[Tensor],
    name: str = "main",
    target_passes: Sequence[Pass] = (),
    context: PassContext | None = None,
) -> PrimFunc:
    """The loop program of a schedule.

    Args:
        args: parameters in call order: all inputs and outputs.
        name: of the function.
        target_passes: a target's own passes.
        context: what to print, verify and time.

    Raises ScheduleError, TensorizeError, TensorExprError on a user's mistake, IRVerifyError on a broken pass.
    """
    context = context or PassContext()
    start = time.perf_counter()
    func = make_loops(schedule, args, name)
    context.timings["make_loops"] = time.perf_counter() - start
    if context.shows("make_loops"):
        context.emit(f"# after make_loops\n{func!r}")
    if context.verify:
        verify(func)
    if context.until == "make_loops":
        return func
    return run_passes(func, pass_list(target_passes), context)


def pass_list(target_passes: Sequence[Pass] = ()) -> list[Pass]:
    """The common passes with a target's put in their places."""
    passes = list(PASSES)
    for p in target_passes:
        if not p.before:
            passes.append(p)
            continue
        names = [q.name for q in passes]
        if p.before not in names:
            raise ScheduleError("lower", "", f"pass '{p.name}' wants to run before '{p.before}'; there are {names}")
        passes.insert(names.index(p.before), p)
    return passes


def run_passes(func: PrimFunc, passes: Sequence[Pass], context: PassContext) -> PrimFunc:
    """Apply ``passes`` in order."""
    for p in passes:
        shown = context.shows(p.name)
        if shown:
            context.emit(f"# before {p.name}\n{func!r}")
        start = time.perf_counter()
        func = p.run(func)
        context.timings[p.name] = context.timings.get(p.name, 0.0) + time.perf_counter() - start
        if shown:
            context.emit(f"# after {p.name}\n{func!r}")
        if context.verify:
            verify(func)
        if p.name == context.until:
            break
    return func
