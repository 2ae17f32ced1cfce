"""Recurrences and statements: against numpy, through the interpreter and as machine code, under schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from compiler import ir, te
from compiler.ir.interp import run
from compiler.lower import lower
from vdla import host

STEPS, BATCH, WIDTH, FEATURES = 5, 2, 4, 3


def execute(
    schedule: te.Schedule, args: Sequence[te.Tensor], inputs: Sequence[np.ndarray], *, native: bool
) -> tuple[np.ndarray, ...]:
    """The outputs (the last of `args`), computed by the interpreter or by machine code."""
    if native:
        return host.run(schedule, args, *inputs)
    outputs = [np.zeros(t.shape, t.dtype) for t in args[len(inputs) :]]
    run(lower(schedule, args), [array.reshape(-1) for array in (*inputs, *outputs)])
    return tuple(outputs)


class Lstm:
    """An LSTM layer [steps, batch, features] -> hidden states, with a reduction and two states."""

    def __init__(self) -> None:
        x = te.placeholder((STEPS, BATCH, FEATURES), "float32", "x")
        w = te.placeholder((4 * WIDTH, FEATURES), "float32", "w")
        r = te.placeholder((4 * WIDTH, WIDTH), "float32", "r")
        shape = (STEPS + 1, BATCH, WIDTH)
        self.h, self.c = te.placeholder(shape, "float32", "h"), te.placeholder(shape, "float32", "c")
        f, k = te.reduce_axis(FEATURES, "f"), te.reduce_axis(WIDTH, "k")
        self.projected = te.compute(
            (STEPS, BATCH, 4 * WIDTH), lambda t, n, j: te.sum(x[t, n, f] * w[j, f], axis=f), "projected"
        )
        self.recurrent = te.compute(
            (STEPS + 1, BATCH, 4 * WIDTH), lambda t, n, j: te.sum(self.h[t - 1, n, k] * r[j, k], axis=k), "recurrent"
        )
        self.gates = te.compute(
            (STEPS + 1, BATCH, 4 * WIDTH),
            lambda t, n, j: self.projected[t - 1, n, j] + self.recurrent[t, n, j],
            "gates",
        )

        def gate(t: ir.Expr, n: ir.Expr, j: ir.Expr, number: int) -> ir.Expr:
            return self.gates[t, n, j + number * WIDTH]

        self.new_c = te.compute(
            shape,
            lambda t, n, j: (
                ir.call("sigmoid", gate(t, n, j, 2)) * self.c[t - 1, n, j]
                + ir.call("sigmoid", gate(t, n, j, 0)) * ir.call("tanh", gate(t, n, j, 3))
            ),
            "new_c",
        )
        self.new_h = te.compute(
            shape,
            lambda t, n, j: ir.call("sigmoid", gate(t, n, j, 1)) * ir.call("tanh", self.new_c[t, n, j]),
            "new_h",
        )
        zero = [te.compute((1, BATCH, WIDTH), lambda t, n, j: ir.const(0.0, "float32"), f"zero{i}") for i in range(2)]
        states = te.scan(zero, [self.new_h, self.new_c], [self.h, self.c], [x], name="lstm")
        assert isinstance(states, list)
        self.states = states
        self.y = te.compute((STEPS, BATCH, WIDTH), lambda t, n, j: self.states[0][t + 1, n, j], "y")
        self.args = [x, w, r, self.y]

    @staticmethod
    def data() -> tuple[list[np.ndarray], np.ndarray]:
        rng = np.random.default_rng(5)
        shapes = ((STEPS, BATCH, FEATURES), (4 * WIDTH, FEATURES), (4 * WIDTH, WIDTH))
        x, w, r = (rng.standard_normal(s).astype(np.float32) for s in shapes)
        h = c = np.zeros((BATCH, WIDTH))
        out = []
        for step in x:
            i, o, f, g = np.split(step @ w.T + h @ r.T, 4, axis=1)
            i, o, f = (1 / (1 + np.exp(-v)) for v in (i, o, f))
            c = f * c + i * np.tanh(g)
            h = o * np.tanh(c)
            out.append(h)
        return [x, w, r], np.array(out)


def plain(s: te.Schedule, net: Lstm) -> None:
    """The default places."""


def fused(s: te.Schedule, net: Lstm) -> None:
    """Gates inlined into both states, the product at a loop of the update that needs it first."""
    s[net.gates].compute_inline()
    outer, inner = s[net.new_h].split(net.new_h.op.axis[2], factor=3)  # does not divide
    s[net.new_h].reorder(outer, net.new_h.op.axis[1], inner)
    s[net.new_c].vectorize(net.new_c.op.axis[2])
    s[net.projected].compute_at(s[net.states[0]], s[net.states[0]].op.scan_axis)  # type: ignore[attr-defined]


def cached(s: te.Schedule, net: Lstm) -> None:
    """The state read and written through copies, the reduction in parts."""
    local = s.cache_read(net.h, "local", [net.recurrent])
    written = s.cache_write(net.new_h, "local")
    s[written].compute_at(s[net.new_h], s[net.new_h].op.axis[1])
    outer, _ = s[net.recurrent].split(s[net.recurrent].op.reduce_axis[0], factor=2)
    partial = s.rfactor(net.recurrent, outer)
    s[local].compute_at(s[partial], s[partial].op.axis[2])


@pytest.mark.parametrize("native", [False, True], ids=["interpreter", "machine_code"])
@pytest.mark.parametrize("arrange", [plain, fused, cached])
def test_lstm(arrange: Callable[[te.Schedule, Lstm], None], native: bool) -> None:
    net = Lstm()
    inputs, expected = net.data()
    schedule = te.create_schedule(net.y)
    arrange(schedule, net)
    (found,) = execute(schedule, net.args, inputs, native=native)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    again = te.create_schedule(net.y)
    exec(schedule.trace(), {"s": again, "te": te})
    assert again.nest() == schedule.nest()


def test_every_state_may_be_an_output() -> None:
    net = Lstm()
    inputs, expected = net.data()
    args = [*net.args[:3], *net.states]
    h, c = execute(te.create_schedule(net.states), args, inputs, native=True)
    np.testing.assert_allclose(h[1:], expected, rtol=1e-5, atol=1e-6)
    assert not c[0].any() and np.isfinite(c).all()


def fibonacci() -> tuple[te.Tensor, te.Tensor]:
    start = te.placeholder((2, 3), "int32", "start")
    state = te.placeholder((8, 3), "int32", "state")
    step = te.compute((8, 3), lambda t, i: state[t - 1, i] + state[t - 2, i], "step")
    result = te.scan(start, step, state, name="fib")
    assert isinstance(result, te.Tensor)
    return start, result


def test_several_first_steps_from_an_input() -> None:
    start, result = fibonacci()
    first = np.array([[0, 1, 5], [1, 1, -7]], np.int32)
    expected = list(first)
    for _ in range(6):
        expected.append(expected[-1] + expected[-2])
    (found,) = execute(te.create_schedule(result), [start, result], [first], native=False)
    np.testing.assert_array_equal(found, expected)


def test_printed_loops() -> None:
    start, result = fibonacci()
    doubled = te.compute((8, 3), lambda t, i: result[t, i] * 2, "doubled")
    s = te.create_schedule(doubled)
    (init,) = result.op.init  # type: ignore[attr-defined]
    s[init].vectorize(init.op.axis[1])
    assert repr(lower(s, [start, doubled])) == (
        "def main(start: int32[6], doubled: int32[24]):\n"
        "    # shapes = [[2, 3], [8, 3]]\n"
        "    fib = allocate(int32[24])\n"
        "    for i0 in range(2):\n"
        "        for i1 in vectorized(3):\n"
        "            fib[i0 * 3 + i1] = start[i0 * 3 + i1]\n"
        "    for fib_t in range(6):\n"
        "        for i in range(3):\n"
        "            fib[fib_t * 3 + i + 6] = fib[fib_t * 3 + i + 3] + fib[fib_t * 3 + i]\n"
        "    for t in range(8):\n"
        "        for i_1 in range(3):\n"
        "            doubled[t * 3 + i_1] = fib[t * 3 + i_1] * 2"
    )


def test_schedule_for_cpu_keeps_what_a_scan_needs() -> None:
    net = Lstm()
    inputs, expected = net.data()
    (found,) = execute(te.schedule_for_cpu(net.y), net.args, inputs, native=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def running(shape: tuple[int, ...] = (4, 3), name: str = "state") -> te.Tensor:
    return te.placeholder(shape, "int32", name)


def step_of(state: te.Tensor) -> te.Tensor:
    return te.compute(state.shape, lambda *i: state[i[0] - 1, i[1]] + 1, "step")


STATE = running()
WRONG_SCANS = {
    "must be as many": lambda: te.scan([running((1, 3))], [], [STATE]),
    "must be a te.placeholder": lambda: te.scan(running((1, 3)), step_of(STATE), step_of(STATE)),
    "must be a te.compute": lambda: te.scan(running((1, 3)), STATE, STATE),
    "differ in shape": lambda: te.scan(running((1, 3)), step_of(running((5, 3))), STATE),
    "does not start": lambda: te.scan(running((1, 2)), step_of(STATE), STATE),
    "fewer given than there are": lambda: te.scan(running((4, 3)), step_of(STATE), STATE),
    "without inputs it needs a dtype": lambda: te.extern((4,), [], lambda ins, outs: ir.Evaluate(ir.const(0, "int32"))),
    "must return a statement": lambda: te.extern((4,), [STATE], lambda ins, outs: None),  # type: ignore[arg-type]
    "unknown dtype": lambda: te.extern(
        (4,), [STATE], lambda ins, outs: ir.Evaluate(ir.const(0, "int32")), dtype="int3"
    ),
}


@pytest.mark.parametrize("message", WRONG_SCANS)
def test_malformed_scans_and_externs(message: str) -> None:
    with pytest.raises(te.TensorExprError, match=message):
        WRONG_SCANS[message]()


def test_the_state_does_not_leave_the_scan() -> None:
    step = step_of(STATE)
    result = te.scan(running((1, 3), "start"), step, STATE)
    assert isinstance(result, te.Tensor)
    leak = te.compute((4, 3), lambda t, i: step[t, i] + result[t, i], "leak")
    with pytest.raises(te.TensorExprError, match="depends on the state of scan"):
        te.create_schedule(leak)


def test_primitives_that_would_break_a_scan() -> None:
    net = Lstm()
    s = te.create_schedule(net.y)
    scan = net.states[0]
    refused = {
        "is a scan": lambda: s[scan].split(s[scan].op.scan_axis, factor=2),  # type: ignore[attr-defined]
        "must be stored": lambda: s[net.new_h].compute_inline(),
        "in the memory of a scan": lambda: s[net.new_h].set_scope("local"),
        "must stay in its loop": lambda: s[net.gates].compute_at(s[net.y], net.y.op.axis[0]),
    }
    for message, call in refused.items():
        with pytest.raises(te.ScheduleError, match=message):
            call()
    s[net.recurrent].compute_at(s[net.gates], net.gates.op.axis[1])
    s[net.recurrent].compute_root()  # back to the scan's loop
    inputs, expected = net.data()
    np.testing.assert_allclose(execute(s, net.args, inputs, native=False)[0], expected, rtol=1e-5, atol=1e-6)


def selection_sort(ins: Sequence[te.Tensor], outs: Sequence[te.Tensor]) -> ir.Stmt:
    """Ranks every element, and puts it there."""
    (x,), (ordered, rank) = ins, outs
    n = x.shape[0]
    fill, i, j = ir.Var("fill", "int32"), ir.Var("i", "int32"), ir.Var("j", "int32")
    before = ir.logical_or(x[j] < x[i], ir.logical_and(ir.eq(x[j], x[i]), j < i))
    return ir.seq(
        ir.For(fill, n, ir.Store(rank, [fill], ir.const(0, "int32"))),
        ir.For(
            i,
            n,
            ir.seq(
                ir.For(j, n, ir.If(before, ir.Store(rank, [i], rank[i] + 1))),
                ir.Store(ordered, [rank[i]], x[i]),
            ),
        ),
    )


@pytest.mark.parametrize("native", [False, True], ids=["interpreter", "machine_code"])
def test_extern(native: bool) -> None:
    x = te.placeholder((9,), "float32", "x")
    shifted = te.compute((9,), lambda i: x[i] + 1.0, "shifted")
    parts = te.extern([(9,), (9,)], [shifted], selection_sort, "sort", ["float32", "int32"])
    assert isinstance(parts, list)
    y = te.compute((9,), lambda i: parts[0][8 - i] * parts[1][i].astype("float32"), "y")
    s = te.create_schedule(y)
    with pytest.raises(te.ScheduleError, match="must be stored"):
        s[shifted].compute_inline()
    data = np.random.default_rng(3).standard_normal(9).astype(np.float32)
    (found,) = execute(s, [x, y], [data], native=native)
    ranks = np.argsort(np.argsort(data))
    np.testing.assert_allclose(found, np.sort(data + 1)[::-1] * ranks, rtol=1e-6)
