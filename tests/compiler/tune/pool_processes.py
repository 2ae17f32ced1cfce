"""A pool for tests: a scheduler and devices, each a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from compiler.tune.measure import Measure, Result
from compiler.tune.pool import PoolMeasurer, create_keys, load_keys
from runtime.version import KIT_VERSION
from tests.compiler.tune.faults import GIB, measure

ROOT = Path(__file__).parents[3]
PATIENCE = 240.0


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.05)


class Pool:
    """A scheduler and devices, each a process."""

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys"
        create_keys(self.keys)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        self.address = f"tls://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[str]] = []
        self.scheduler = self.start_scheduler()

    def _start(self, *command: str) -> subprocess.Popen[str]:
        # A test runner in the background passes on that SIGINT is ignored; these are to hear it.
        return self._run(
            [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
             "from vdla.cli import main; main()", *command]
        )  # fmt: skip

    def _run(self, command: Sequence[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*command, "--keys", str(self.keys)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def start_scheduler(self) -> subprocess.Popen[str]:
        process = self._start("pool", "start", "--port", str(self.port))
        assert process.stdout is not None
        assert process.stdout.readline() == f"pool at {self.address}\n"
        return process

    def start_device(self, kind: str = "test", name: str = "first", *options: str) -> subprocess.Popen[str]:
        device = ("device", "--scheduler", self.address, "--kind", kind, "--name", name, *options)
        return self._registered(self._start(*device))

    def start_board(self, python: str, kind: str, *options: str) -> subprocess.Popen[str]:
        """A device that has the kit's sources and Dask alone."""
        board = (python, "-m", "compiler.tune.pool", self.address, kind, "--kit", KIT_VERSION, *options)
        return self._registered(self._run(board))

    def _registered(self, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        assert process.stdout is not None
        assert process.stdout.readline() == f"registered at {self.address}\n"
        return process

    def measurer(
        self, kind: str = "test", timeout: float = 30.0, patience: float = PATIENCE, measure: Measure = measure
    ) -> PoolMeasurer:
        return PoolMeasurer(
            measure, self.address, kind, KIT_VERSION, load_keys(self.keys), timeout=timeout, memory=16 * GIB,
            patience=patience,
        )  # fmt: skip

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def in_background(work: Callable[[], list[Result]]) -> tuple[threading.Thread, list[Result]]:
    found: list[Result] = []
    thread = threading.Thread(target=lambda: found.extend(work()))
    thread.start()
    return thread, found
