"""A kernel on a computer with Python and nothing else: a shared library for its processor, run on memory of its own.

The library has two functions: ``run_0(arena, clock)``, which runs the kernel and notes the time before and after, and
its thread pool's, which sets the number of threads.  Python's own library is all that is needed to load and run it.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import tempfile
from array import array
from dataclasses import dataclass

from runtime.errors import ArtifactError
from runtime.thread_pool import SET_THREADS
from runtime.tiles import allow_tiles

RUN = "run_0"

_PATTERN = 1 << 14
"""Numbers that a kernel's memory repeats."""


@dataclass(frozen=True)
class KernelLibrary:
    """A kernel to run.

    image: the shared library. arena_bytes: memory that it runs on. threads: that it may use. turn: tells measurements
    of one kernel apart, where equal ones are done once.
    """

    image: bytes
    arena_bytes: int
    threads: int
    turn: int = 0


class LoadedLibrary:
    """A kernel in this process, on seeded numbers between -1 and 1."""

    def __init__(self, kernel: KernelLibrary) -> None:
        """Raises ArtifactError when the library is for another processor, or lacks a function."""
        allow_tiles()  # a kernel that needs them and has no permission would end the process
        with tempfile.NamedTemporaryFile(prefix="vdla-kernel-", suffix=".so") as stream:
            stream.write(kernel.image)
            stream.flush()
            try:
                # For all to see: the thread pool of the first library stands before those of later ones, and is used
                # by all of them. Threads cannot be ended, so one pool for each kernel would be too many.
                library = ctypes.CDLL(stream.name, mode=ctypes.RTLD_GLOBAL)
                self._run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)((RUN, library))
                ctypes.CDLL(None)[SET_THREADS](kernel.threads)
            except (OSError, AttributeError) as error:
                text = str(error).removeprefix(f"{stream.name}: ")
                raise ArtifactError(f"the kernel cannot be loaded: {text}") from error
        self._arena = filled_memory(kernel.arena_bytes)
        self._clock = (ctypes.c_long * 4)()  # struct timespec before, and after

    def run(self) -> float:
        """Run it once; seconds."""
        self._run(ctypes.addressof(self._arena), ctypes.addressof(self._clock))
        start, start_ns, end, end_ns = self._clock
        return end - start + (end_ns - start_ns) * 1e-9


def filled_memory(size: int, seed: int = 0) -> ctypes.Array[ctypes.c_char]:
    """`size` bytes from the start of a page, that hold float32 numbers between -1 and 1, the same for the same seed.

    Raises MemoryError.
    """
    try:
        pages = mmap.mmap(-1, max(size, 1))
    except (OSError, OverflowError) as error:
        raise MemoryError(f"{size} bytes") from error
    rng = random.Random(seed)
    pattern = array("f", (rng.uniform(-1.0, 1.0) for _ in range(_PATTERN))).tobytes()
    for start in range(0, size, len(pattern)):
        pages[start : min(start + len(pattern), size)] = pattern[: size - start]
    return (ctypes.c_char * max(size, 1)).from_buffer(pages)
