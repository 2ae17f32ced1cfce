"""A measure function whose jobs do what candidates do at their worst."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from compiler.tune.measure import Cost

GIB = 1 << 30


def measure(job: tuple[str, str]) -> Cost:
    """A job is what to do, and an argument."""
    action, argument = job
    if action == "cost":
        return Cost(float(argument), "trace")
    if action == "count":  # leaves a mark for each time that it is run
        with Path(argument).open("a") as stream:
            stream.write(".")
        time.sleep(0.5)
        return Cost(2.0)
    if action == "wait for":  # marks that it has begun, and waits for what a test does next
        Path(argument + ".begun").touch()
        while not Path(argument).exists():
            time.sleep(0.02)
        return Cost(9.0)
    if action == "hang":
        time.sleep(60)
    if action == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if action == "die once" and not Path(argument).exists():
        Path(argument).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "memory":
        return Cost(float(len(bytearray(64 * GIB))))
    if action == "fail":
        raise ValueError("no such\nschedule")
    return Cost(1.0)
