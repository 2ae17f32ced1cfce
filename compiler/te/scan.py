"""Recurrences: tensors whose element at one step of time is made of those at steps before (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.te.errors import TensorExprError
from compiler.te.tensor import IterVar, Operation, PartOp, PlaceholderOp, Tensor, compute


class ScanOp(Operation):
    """One or several states over time: ``state[t]`` is ``init[t]`` in the first steps, then ``update[t]``.

    Init, update and the placeholder that stands for the state share the state's memory: nothing is copied.

    Attributes:
        init, update, states: one tensor a state each.
        outputs: the results, of the shapes of ``states``; ``output`` is the first.
        scan_axis: the loop over the steps that ``update`` computes.
        first: the step it starts at.
    """

    def __init__(
        self,
        name: str,
        init: Sequence[Tensor],
        update: Sequence[Tensor],
        states: Sequence[Tensor],
        names: Sequence[str],
    ) -> None:
        self.name = name
        self.init, self.update, self.states = tuple(init), tuple(update), tuple(states)
        self.first = self.init[0].shape[0]
        self.scan_axis = IterVar(f"{name}_t", self.states[0].shape[0] - self.first, "scan")
        shapes = [(s.shape, s.dtype) for s in states]
        self.output = Tensor(names[0], *shapes[0], self)
        rest = zip(names[1:], shapes[1:], strict=True)
        self.outputs = (self.output, *(PartOp(n, shape, dtype, self).output for n, (shape, dtype) in rest))

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (*self.init, *self.update)

    def buffer_of(self) -> dict[Tensor, Tensor]:
        """Init, update and placeholder of every state -> the output in whose memory they lie."""
        groups = zip(self.init, self.update, self.states, self.outputs, strict=True)
        return {tensor: output for *shared, output in groups for tensor in shared}


def scan(
    init: Tensor | Sequence[Tensor],
    update: Tensor | Sequence[Tensor],
    state_placeholder: Tensor | Sequence[Tensor],
    inputs: Sequence[Tensor] = (),
    name: str = "scan",
) -> Tensor | list[Tensor]:
    """The state over all steps of time, the first dimension.

    Args:
        init: the first steps, of shape [K, ...]; a placeholder is copied.
        update: all steps, of shape [T, ...]; evaluated from step K on. It reads the state at earlier steps through
            ``state_placeholder``, what it needs at its own step of other updates through their tensors.
        state_placeholder: stands for the state inside ``update``, a ``te.placeholder`` of shape [T, ...].
        inputs: what else ``update`` reads; for the reader only, it is found anyway.
        name: of the result (of several: ``name.0``, ``name.1``, ...).

    Lists give several states that depend on each other, and a list of results. Whatever the updates make of the state
    is computed at the loop ``s[result].op.scan_axis``; their stages take all primitives that keep it there.
    Raises TensorExprError when shapes, element types or numbers do not fit.

    >>> X = te.placeholder((4, 3), "int32", "X")
    >>> state = te.placeholder((4, 3), "int32", "state")
    >>> first = te.compute((1, 3), lambda t, i: X[t, i], "first")
    >>> total = te.compute((4, 3), lambda t, i: state[t - 1, i] + X[t, i], "total")
    >>> sums = te.scan(first, total, state, [X], name="sums")
    >>> te.create_schedule(sums).show()
    for i in range(3):
        sums[0, i] = X[0, i]
    for sums_t in range(3):
        for i_1 in range(3):
            sums[sums_t + 1, i_1] = sums[sums_t, i_1] + X[sums_t + 1, i_1]
    """
    several = not isinstance(init, Tensor)
    groups = [[t] if isinstance(t, Tensor) else list(t) for t in (init, update, state_placeholder)]
    if not groups[0] or len({len(g) for g in groups}) != 1:
        counts = ", ".join(str(len(g)) for g in groups)
        raise TensorExprError(f"scan '{name}': init, update and state must be as many, at least one; got {counts}")
    for start, step, state in zip(*groups, strict=True):
        _check(name, start, step, state, groups)
    starts = [_stored(start) for start in groups[0]]
    names = [f"{name}.{i}" for i in range(len(starts))] if several else [name]
    outputs = ScanOp(name, starts, groups[1], groups[2], names).outputs
    return list(outputs) if several else outputs[0]


def _check(name: str, start: Tensor, step: Tensor, state: Tensor, groups: list[list[Tensor]]) -> None:
    if not isinstance(state.op, PlaceholderOp):
        raise TensorExprError(f"scan '{name}': state '{state.name}' must be a te.placeholder")
    if isinstance(step.op, PlaceholderOp) or step in groups[0]:
        raise TensorExprError(f"scan '{name}': update '{step.name}' must be a te.compute of its own")
    if (step.shape, step.dtype) != (state.shape, state.dtype):
        raise TensorExprError(f"scan '{name}': update {step!r} and state {state!r} differ in shape or element type")
    if start.dtype != state.dtype or start.shape[1:] != state.shape[1:]:
        raise TensorExprError(f"scan '{name}': init {start!r} does not start state {state!r}")
    steps, first = groups[2][0].shape[0], groups[0][0].shape[0]
    if (state.shape[0], start.shape[0]) != (steps, first) or first >= steps:
        raise TensorExprError(
            f"scan '{name}': {start.shape[0]} of {state.shape[0]} steps are given by '{start.name}'; all states need "
            f"the same number of steps, and fewer given than there are"
        )


def _stored(start: Tensor) -> Tensor:
    """``start`` as a computation of its own, which may write into the state's memory."""
    if not isinstance(start.op, PlaceholderOp):
        return start
    return compute(start.shape, lambda *i: start[i], f"{start.name}_init")
