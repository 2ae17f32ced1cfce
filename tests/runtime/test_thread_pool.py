"""The pool of threads: every iteration once, whatever starts, nests or is missing."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time

import pytest

from runtime.errors import InputError
from runtime.thread_pool import MOST_ITERATIONS, THREADS_VARIABLE, default_threads, pool_ir, process_pool

_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32)
_FOR = ctypes.CFUNCTYPE(None, _BODY, ctypes.c_void_p, ctypes.c_int32)


def iterations(count: int) -> list[int]:
    """Which iterations a loop of the pool ran."""
    seen: list[int] = []
    _FOR(process_pool().address)(_BODY(lambda _, i: seen.append(i)), None, count)
    return sorted(seen)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 97, MOST_ITERATIONS + 3])
def test_every_iteration_runs_once(threads: int, count: int) -> None:
    process_pool().use(threads)
    assert iterations(count) == list(range(count))
    process_pool().use(1)


def test_loops_of_several_threads_and_loops_inside_loops() -> None:
    process_pool().use(3)
    run = _FOR(process_pool().address)
    total: list[int] = []

    def outer(_: object, i: int) -> None:
        run(_BODY(lambda _, j: total.append(10 * i + j)), None, 10)

    body = _BODY(outer)
    workers = [threading.Thread(target=run, args=(body, None, 10)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(total) == sorted([*range(100)] * 4)
    process_pool().use(1)


def test_each_thread_begins_with_its_own_share_and_ends_with_the_others() -> None:
    process_pool().use(3)
    together = threading.Barrier(3, timeout=30)
    order: dict[int, list[int]] = {}

    def body(_: object, i: int) -> None:
        order.setdefault(threading.get_ident(), []).append(i)
        if i in (0, 10, 20):
            together.wait()

    _FOR(process_pool().address)(_BODY(body), None, 30)
    shares = {begin: [i for i in mine if begin <= i < begin + 10] for mine in order.values() for begin in mine[:1]}
    assert sorted(shares) == [0, 10, 20]
    assert all(mine == list(range(begin, begin + len(mine))) for begin, mine in shares.items())
    assert sorted(i for mine in order.values() for i in mine) == list(range(30))
    process_pool().use(1)


def test_a_caller_that_naps_returns_when_the_last_iteration_is_done() -> None:
    process_pool().use(2)
    done: list[int] = []
    for _ in range(3):
        done.clear()
        both = threading.Barrier(2, timeout=30)
        caller = threading.get_ident()

        def body(_: object, i: int, both: threading.Barrier = both, caller: int = caller) -> None:
            both.wait()
            if threading.get_ident() != caller:
                time.sleep(0.02)  # many times what the caller waits for without a nap
            done.append(i)

        _FOR(process_pool().address)(_BODY(body), None, 2)
        assert sorted(done) == [0, 1]
    process_pool().use(1)


def test_a_fork_leaves_a_pool_that_works() -> None:
    script = (
        "import os, tests.runtime.test_thread_pool as t\n"
        "t.process_pool().use(4); t.iterations(50)\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(t.iterations(50) != list(range(50)))\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)
    assert default_threads() == len(os.sched_getaffinity(0))
    monkeypatch.setenv(THREADS_VARIABLE, "3")
    assert default_threads() == 3
    for wrong in ("0", "many", "-1", "", "100000"):
        monkeypatch.setenv(THREADS_VARIABLE, wrong)
        with pytest.raises(InputError, match=THREADS_VARIABLE):
            default_threads()
    with pytest.raises(InputError, match="0 threads"):
        process_pool().use(0)


def test_there_is_a_pool_for_each_architecture() -> None:
    for triple in ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf"):
        assert "@vdla_parallel_for" in pool_ir(triple)
    with pytest.raises(InputError, match="riscv64"):
        pool_ir("riscv64-unknown-linux-gnu")


_CROWDED = """
import ctypes, os, threading, time
from runtime.thread_pool import process_pool

allowed = os.sched_getaffinity(0)
before = set(os.listdir("/proc/self/task"))
process_pool().use(2)
(worker,) = {int(task) for task in set(os.listdir("/proc/self/task")) - before}
body = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32)
run = ctypes.CFUNCTYPE(None, body, ctypes.c_void_p, ctypes.c_int32)(process_pool().address)
both = threading.Barrier(2, timeout=60)
run(body(lambda _, i: both.wait()), None, 2)
home = min(allowed)
os.sched_setaffinity(0, {home})
os.sched_setaffinity(worker, {home})
end = time.monotonic() + 60
while os.sched_getaffinity(worker) == {home} and time.monotonic() < end:
    run(body(lambda _, i: None), None, 2)
print(os.sched_getaffinity(worker) == (allowed - {home} or {home}))
"""


def test_a_thread_leaves_the_callers_processor() -> None:
    done = subprocess.run([sys.executable, "-c", _CROWDED], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr
