"""The pool of threads that runs the parallel loops of CPU kernels: LLVM IR on libc and libpthread, nothing else.

`pool_ir` is the whole pool as a module with two functions (thread_pool.ll), so that it can be linked into this process
or into a library of its own:

    void vdla_parallel_for(void (*body)(void *context, int32_t i), void *context, int32_t n)
    void vdla_pool_set_threads(int32_t threads)        // that a loop may use, the caller's included; 1 at the start

Each thread has a share of the iterations, a contiguous range in a line of memory of its own, and claims from its front;
one that has nothing left takes from the back of the others'. So the same part of a kernel's output is computed by the
same core, whose cache still holds it when the next kernel, divided in the same way, reads it; and cores touch each
other's lines only where a loop starts and ends. A range carries the number of its loop, so a thread that wakes late can
never claim from a loop that it does not know, and a thread that is missing (after a fork) or busy elsewhere costs
speed, not correctness. Idle threads spin for a while, then sleep on a futex. One that finds itself on the caller's
processor leaves it: the kernel likes to wake a thread where it was called from, and two that spin there wait for each
other's time slices. A caller that has waited for longer than an iteration lets whoever is late run on its own
processor, and naps meanwhile: the processor of the late one went to another process. A loop that starts while another
one runs, in another thread or inside it, runs serially in its caller.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from string import Template
from threading import Lock

from runtime.errors import InputError
from runtime.tiles import allow_tiles

PARALLEL_FOR, SET_THREADS = "vdla_parallel_for", "vdla_pool_set_threads"
THREADS_VARIABLE = "VDLA_NUM_THREADS"
MOST_THREADS = 256
#: iterations of one loop that fit a range; longer ones run serially
MOST_ITERATIONS = (1 << 16) - 1

_MASK_BYTES = 128  # of the processors that a thread may use, as the kernel takes them
# Half a millisecond to two, by how long a processor pauses: longer than what lies between two runs of a network.
_SPINS = 40000
# So long, a tenth of the above, a caller waits for the last iterations of others before it naps; a nap in nanoseconds.
_PATIENCE = 4000
_NAP = 50000
_FUTEX = {"x86_64": 202, "aarch64": 98, "arm": 240}
_SET_AFFINITY = {"x86_64": 203, "aarch64": 122, "arm": 241}
_GETTID = {"x86_64": 186, "aarch64": 178, "arm": 224}
# Intrinsics, because LLVM has no assembler for processors other than this one here.
_PAUSE = {
    "x86_64": "call void @llvm.x86.sse2.pause()",
    "aarch64": "call void @llvm.aarch64.hint(i32 1)",
    "arm": "call void @llvm.arm.hint(i32 1)",
}


def pool_ir(triple: str, *, weak: bool = False) -> str:
    """The pool for an LLVM triple (x86_64, aarch64 or ARM, Linux), as the text of a module.

    weak: its functions give way to others of the same names that they are linked with.

    Raises:
        InputError: for another architecture.
    """
    arch = "arm" if triple.startswith("arm") else triple.split("-", 1)[0]
    if arch not in _FUTEX:
        raise InputError(f"no thread pool for {triple}; there is one for {', '.join(_FUTEX)}")
    text = Path(__file__).with_suffix(".ll").read_text()
    return Template(text.replace("define void", "define weak void") if weak else text).substitute(
        triple=triple,
        word="i32" if arch == "arm" else "i64",
        futex=_FUTEX[arch],
        pause=_PAUSE[arch],
        hint=_PAUSE[arch].removeprefix("call ").replace("i32 1", "i32"),
        spins=_SPINS,
        patience=_PATIENCE,
        overdue=_PATIENCE + 1,
        gettid=_GETTID[arch],
        setaffinity=_SET_AFFINITY[arch],
        wordbytes=4 if arch == "arm" else 8,
        nap=_NAP,
        threads=MOST_THREADS,
        most=MOST_ITERATIONS,
        mask=_MASK_BYTES,
        cpus=8 * _MASK_BYTES,
    )


def default_threads() -> int:
    """$VDLA_NUM_THREADS, else the processors this process may use.

    Raises:
        InputError: when the variable is no number from 1 to `MOST_THREADS`.
    """
    text = os.environ.get(THREADS_VARIABLE)
    if text is None:
        return min(len(os.sched_getaffinity(0)), MOST_THREADS)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_THREADS:
        raise InputError(f"{THREADS_VARIABLE}={text!r}: it must be a number from 1 to {MOST_THREADS}")
    return int(text)


class ThreadPool:
    """The pool of this process: use `process_pool`."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm  # a computer without it has its kernels' pool in their object

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        triple = llvm.get_default_triple()
        machine = llvm.Target.from_triple(triple).create_target_machine(opt=2, reloc="pic", codemodel="default")
        module = llvm.parse_assembly(pool_ir(triple))
        self._jit = llvm.create_lljit_compiler(
            llvm.Target.from_triple(triple).create_target_machine(reloc="pic", codemodel="default")
        )
        builder = llvm.JITLibraryBuilder().add_object_img(machine.emit_object(module)).add_current_process()
        builder.export_symbol(PARALLEL_FOR).export_symbol(SET_THREADS)
        self._library = builder.link(self._jit, "thread_pool")
        self._set_threads = ctypes.CFUNCTYPE(None, ctypes.c_int32)(self._library[SET_THREADS])
        self._lock = Lock()
        self._threads = 1

    @property
    def address(self) -> int:
        """Of `vdla_parallel_for`."""
        return self._library[PARALLEL_FOR]

    @property
    def threads(self) -> int:
        """How many threads a loop may use, the caller's included."""
        return self._threads

    def use(self, threads: int) -> None:
        """Let loops use this many threads from now on; missing ones are started.

        Raises:
            InputError: unless 1 <= threads <= `MOST_THREADS`.
        """
        if not 1 <= threads <= MOST_THREADS:
            raise InputError(f"{threads} threads; it must be 1 to {MOST_THREADS}")
        with self._lock:
            if threads != self._threads:
                self._set_threads(threads)
                self._threads = threads


@cache
def process_pool() -> ThreadPool:
    """The one pool that all kernels of this process share; they may use the processor's tile registers, if it has
    them."""
    allow_tiles()
    return ThreadPool()
