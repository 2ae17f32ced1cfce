"""Waveforms, as text and compressed: of the cycles asked for, and of no other run; from the command line as well."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pylibfst
import pytest
from vcd.reader import TokenKind, tokenize

from runtime.artifact import VdlaStep
from sim import cycle
from sim.rtl import RtlBuildError
from sim.rtl.build import library_of
from sim.rtl.cases import SMALL, random_case
from sim.rtl.machine import Machine, Wave, WaveError
from tests import handmade
from vdla.cli import run_cli


class Found(NamedTuple):
    """What a waveform holds: names of signals, the times at which something changes, and the clock's values."""

    signals: set[str]
    times: list[int]
    clock: list[int]


def read_vcd(path: Path) -> Found:
    signals: dict[str, str] = {}
    times: list[int] = []
    clock: list[int] = []
    # The reader takes a name's own dollar (those that Amaranth makes up have one) for that of a keyword.
    text = re.sub(rb"(\$var \w+ +\d+ \S+ )\$", rb"\1_", path.read_bytes())
    for token in tokenize(BytesIO(text)):
        if token.kind == TokenKind.VAR:
            signals.setdefault(token.var.reference, token.var.id_code)
        elif token.kind == TokenKind.CHANGE_TIME:
            times.append(token.time_change)
        elif token.kind == TokenKind.CHANGE_SCALAR and token.scalar_change.id_code == signals["clk"]:
            clock.append(int(token.scalar_change.value))
    return Found(set(signals), times, clock)


def read_fst(path: Path) -> Found:
    # The type of the block that heads every file.
    assert path.read_bytes()[0] == 0
    file = pylibfst.lib.fstReaderOpen(str(path).encode())
    assert file != pylibfst.ffi.NULL
    try:
        _, signals = pylibfst.get_scopes_signals2(file)
        names = {name.split(".")[-1].split(" ")[0]: signal.handle for name, signal in signals.by_name.items()}
        times: set[int] = set()
        clock: list[int] = []

        def change(_: object, time: int, handle: int, value: object) -> None:
            times.add(time)
            if handle == names["clk"]:
                clock.append(int(pylibfst.string(value)))

        pylibfst.lib.fstReaderSetFacProcessMaskAll(file)
        pylibfst.fstReaderIterBlocks(file, change)
    finally:
        pylibfst.lib.fstReaderClose(file)
    return Found(set(names), sorted(times), clock)


READERS: dict[str, Callable[[Path], Found]] = {"vcd": read_vcd, "fst": read_fst}


def check(found: Found, cycles: int) -> None:
    """Two moments a cycle, the clock low and high; the buses and the trace port are there."""
    assert len(found.times) == 2 * cycles and np.all(np.diff(found.times) == 1)
    assert found.clock == [0, 1] * cycles
    buses = {"axi_arvalid", "axi_araddr", "axi_rdata", "axi_wdata", "axi_bvalid", "s_axil_awaddr"}
    assert found.signals >= {*buses, "clk", "rst", "trace_running", "trace_cause", "trace_compute_retire"}


@pytest.mark.parametrize("kind", READERS)
def test_wave_of_some_cycles(kind: str, tmp_path: Path) -> None:
    case = random_case(0, SMALL[3])
    path = tmp_path / f"x.{kind}"
    with Machine(SMALL[3], wave=Wave.format_of(path)) as machine:
        traced = machine.run(case.memory.copy(), case.address, len(case.program), wave=Wave(path, 100, 119))
        size = path.stat().st_size
        again = machine.run(case.memory.copy(), case.address, len(case.program))
    assert traced.cycles == again.cycles and path.stat().st_size == size
    assert list(tmp_path.iterdir()) == [path]
    check(READERS[kind](path), 20)


@pytest.mark.parametrize("kind", READERS)
def test_wave_from_the_command_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = handmade.artifact()
    artifact.save(tmp_path / "m.vdla")
    monkeypatch.chdir(tmp_path)
    where = [] if kind == "vcd" else ["--wave-file", "relu.fst"]
    assert run_cli(["run", "m.vdla", "--sim", "rtl", "--wave", "relu", *where]) == 0
    step = next(step for step in artifact.steps if isinstance(step, VdlaStep))
    layer = next(layer for layer in step.layers if layer.name == "relu")
    timed = cycle.run(artifact.initial_arena(), step.program_addr, step.n_instr, artifact.config)
    span = timed.interval(layer.begin, layer.end)
    check(READERS[kind](tmp_path / f"relu.{kind}"), span.last_cycle - span.first_cycle + 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--wave", "relu", "--wave-file", "relu.txt"], "a waveform is written as .vcd or as .fst, not as 'relu.txt'"),
        (["--wave", "relu", "--wave-file", "no/relu.vcd"], "cannot write no/relu.vcd: no is not a folder"),
        (["--wave-file", "relu.vcd"], "--wave-file relu.vcd needs --wave LAYER"),
    ],
)
def test_wrong_places(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    handmade.artifact().save(tmp_path / "m.vdla")
    monkeypatch.chdir(tmp_path)
    assert run_cli(["run", "m.vdla", "--sim", "rtl", *arguments]) != 0
    assert message in capsys.readouterr().err
    with pytest.raises(WaveError, match="'x'"):
        Wave(Path("x"))


def test_fst_without_its_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that does not find a header."""
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\ngrep -qs zlib.h \"$2\" && echo 'fatal error: zlib.h: No such file' >&2 && exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("VDLA_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(
        RtlBuildError, match="waveforms as .fst need the headers of zlib and lz4; install zlib1g-dev and liblz4-dev"
    ):
        library_of("module vdla; endmodule", SMALL[0], wave="fst")
