"""The PYNQ backend against an imitation of the `pynq` package, with the RTL behind it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hw.config import Config
from runtime.board import AllocationError, BoardError, connect
from runtime.board.rtl import RtlBoard
from runtime.executor import Executor
from tests import handmade
from tests.runtime import fake_pynq

TINY = Config.load("tiny")


@pytest.fixture
def behind() -> Iterator[RtlBoard]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with RtlBoard(TINY, memory_bytes=1 << 16, first=1 << 14) as board:
        yield board
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def bitstream(tmp_path: Path) -> Path:
    path = tmp_path / "vdla.bit"
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("interrupt", [True, False])
def test_runs(behind: RtlBoard, bitstream: Path, monkeypatch: pytest.MonkeyPatch, interrupt: bool) -> None:
    monkeypatch.setitem(sys.modules, "pynq", fake_pynq.module(behind, interrupt=interrupt))
    with connect("pynq", bitstream=bitstream) as board, Executor(handmade.artifact(), board=board) as executor:
        assert executor.config.clock_mhz == 50.0
        for seed in range(2):
            x = handmade.example_input(seed)
            expected = Executor(handmade.artifact(), sim="cycle").run(x)
            found = executor.run(x)
            assert np.array_equal(found.outputs["y"], expected.outputs["y"])
            assert found.profile.cycles == expected.profile.cycles


def test_exhausted_memory(behind: RtlBoard, bitstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynq", fake_pynq.module(behind))
    with connect("pynq", bitstream=bitstream) as board:
        with pytest.raises(AllocationError, match="no 69632 bytes of contiguous memory: Failed to allocate"):
            board.allocate(1 << 16)


def test_what_cannot_be_loaded(behind: RtlBoard, bitstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BoardError, match="no bitstream .*missing.bit"):
        connect("pynq", bitstream=bitstream.with_name("missing.bit"))
    with pytest.raises(BoardError, match="pynq needs a bitstream"):
        connect("pynq")
    with pytest.raises(BoardError, match="only pynq loads a bitstream"):
        connect("rtl", bitstream=bitstream)
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(BoardError, match="no `pynq` package"):
        connect("pynq", bitstream=bitstream)
    monkeypatch.setitem(sys.modules, "pynq", fake_pynq.module(behind, block="other"))
    with pytest.raises(BoardError, match="no block named vdla or vdla_0; it has other, ps7"):
        connect("pynq", bitstream=bitstream)


def test_a_board_needs_numpy_and_yaml_only() -> None:
    script = (
        "import sys\n"
        "for name in ('amaranth', 'llvmlite', 'onnx', 'click', 'rich', 'sim', 'compiler', 'vdla', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "import runtime.board.pynq_backend, runtime.board, runtime.executor\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
