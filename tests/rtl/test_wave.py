"""Waveforms: of the cycles asked for, and of no other run."""

from __future__ import annotations

from pathlib import Path

from sim.rtl.cases import SMALL, random_case
from sim.rtl.machine import Machine, Wave


def test_wave_of_some_cycles(tmp_path: Path) -> None:
    case = random_case(0, SMALL[3])
    path = tmp_path / "x.vcd"
    with Machine(SMALL[3], wave=True) as machine:
        traced = machine.run(case.memory.copy(), case.address, len(case.program), wave=Wave(path, 100, 119))
        size = path.stat().st_size
        again = machine.run(case.memory.copy(), case.address, len(case.program))
    assert traced.cycles == again.cycles and path.stat().st_size == size
    text = path.read_text(encoding="ascii")
    times = [int(line[1:]) for line in text.splitlines() if line.startswith("#")]
    # Two moments a cycle, the clock low and high.
    assert len(times) == 2 * 20 and times == sorted(times)
    for signal in ("axi_arvalid", "trace_cause"):
        assert f" {signal}" in text
