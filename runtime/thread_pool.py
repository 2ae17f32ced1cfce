"""The pool of threads that runs the parallel loops of CPU kernels: LLVM IR on libc and libpthread, nothing else.

`pool_ir` is the whole pool as a module with two functions, so that it can be linked into this process or into a library
of its own:

    void vdla_parallel_for(void (*body)(void *context, int32_t i), void *context, int32_t n)
    void vdla_pool_set_threads(int32_t threads)        // that a loop may use, the caller's included; 1 at the start

Iterations are claimed one by one from an atomic word that holds the loop's number, its extent and the next iteration,
so a thread that wakes late can never claim from a loop that it does not know, and a thread that is missing (after a
fork) or busy elsewhere costs speed, not correctness. Idle threads spin for a while, then sleep on a futex. A loop that
starts while another one runs, in another thread or inside it, runs serially in its caller.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from threading import Lock

from runtime.errors import InputError
from runtime.tiles import allow_tiles

PARALLEL_FOR, SET_THREADS = "vdla_parallel_for", "vdla_pool_set_threads"
THREADS_VARIABLE = "VDLA_NUM_THREADS"
MOST_THREADS = 256
#: iterations of one loop that fit the word; longer ones run serially
MOST_ITERATIONS = (1 << 16) - 1

_SPINS = 4000
_FUTEX = {"x86_64": 202, "aarch64": 98, "arm": 240}
# Intrinsics, because LLVM has no assembler for processors other than this one here.
_PAUSE = {
    "x86_64": "call void @llvm.x86.sse2.pause()",
    "aarch64": "call void @llvm.aarch64.hint(i32 1)",
    "arm": "call void @llvm.arm.hint(i32 1)",
}

# The word: loop number << 32 | extent << 16 | next iteration.
_IR = """
target triple = "{triple}"

@word = internal global i64 0, align 64
@done = internal global i32 0, align 64
@body = internal global ptr null, align 64
@context = internal global ptr null, align 8
@threads = internal global i32 1
@started = internal global i32 1
@busy = internal global i32 0, align 64
@sleepers = internal global i32 0, align 64
@wake = internal global i32 0, align 64

declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach({word})
declare {word} @syscall({word}, ...)
declare {hint}

; Claims and runs iterations until none is left.
define internal void @work() {{
entry:
  br label %look
look:
  %word = load atomic i64, ptr @word acquire, align 8
  br label %try
try:
  %seen = phi i64 [ %word, %look ], [ %now, %claim ]
  %next = and i64 %seen, 65535
  %shifted = lshr i64 %seen, 16
  %extent = and i64 %shifted, 65535
  %left = icmp ult i64 %next, %extent
  br i1 %left, label %claim, label %end
claim:
  %after = add i64 %seen, 1
  %pair = cmpxchg ptr @word, i64 %seen, i64 %after acq_rel acquire, align 8
  %now = extractvalue {{ i64, i1 }} %pair, 0
  %mine = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %mine, label %run, label %try
run:
  %body = load ptr, ptr @body, align 8
  %context = load ptr, ptr @context, align 8
  %index = trunc i64 %next to i32
  call void %body(ptr %context, i32 %index)
  %count = atomicrmw add ptr @done, i32 1 release
  br label %look
end:
  ret void
}}

define internal i1 @idle(i32 %id) {{
  %threads = load atomic i32, ptr @threads monotonic, align 4
  %unused = icmp sge i32 %id, %threads
  %word = load atomic i64, ptr @word seq_cst, align 8
  %next = and i64 %word, 65535
  %shifted = lshr i64 %word, 16
  %extent = and i64 %shifted, 65535
  %nothing = icmp uge i64 %next, %extent
  %idle = or i1 %unused, %nothing
  ret i1 %idle
}}

define internal ptr @thread(ptr %argument) {{
entry:
  %address = ptrtoint ptr %argument to i64
  %id = trunc i64 %address to i32
  br label %look
look:
  %spins = phi i32 [ 0, %entry ], [ 0, %busy ], [ %more, %spin ], [ 0, %awake ]
  %idle = call i1 @idle(i32 %id)
  br i1 %idle, label %wait, label %busy
busy:
  call void @work()
  br label %look
wait:
  %more = add i32 %spins, 1
  %enough = icmp sgt i32 %more, {spins}
  br i1 %enough, label %sleep, label %spin
spin:
  {pause}
  br label %look
sleep:
  %s = atomicrmw add ptr @sleepers, i32 1 seq_cst
  %wake = load atomic i32, ptr @wake seq_cst, align 4
  %still = call i1 @idle(i32 %id)
  br i1 %still, label %futex, label %awake
futex:
  %r = call {word} ({word}, ...) @syscall({word} {futex}, ptr @wake, i32 128, i32 %wake, ptr null, ptr null, i32 0)
  br label %awake
awake:
  %t = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  br label %look
}}

define void @vdla_pool_set_threads(i32 %wanted) {{
entry:
  %handle = alloca {word}
  br label %look
look:
  %id = load i32, ptr @started, align 4
  %lack = icmp slt i32 %id, %wanted
  br i1 %lack, label %start, label %end
start:
  %wide = sext i32 %id to i64
  %argument = inttoptr i64 %wide to ptr
  %failed = call i32 @pthread_create(ptr %handle, ptr null, ptr @thread, ptr %argument)
  %bad = icmp ne i32 %failed, 0
  br i1 %bad, label %end, label %count
count:
  %thread = load {word}, ptr %handle
  %d = call i32 @pthread_detach({word} %thread)
  %one = add i32 %id, 1
  store i32 %one, ptr @started, align 4
  br label %look
end:
  store atomic i32 %wanted, ptr @threads release, align 4
  ret void
}}

define void @vdla_parallel_for(ptr %body, ptr %context, i32 %n) {{
entry:
  %threads = load atomic i32, ptr @threads monotonic, align 4
  %alone = icmp slt i32 %threads, 2
  %long = icmp ugt i32 %n, {most}
  %short = icmp slt i32 %n, 2
  %a = or i1 %alone, %long
  %b = or i1 %a, %short
  br i1 %b, label %serial, label %lock
lock:
  %pair = cmpxchg ptr @busy, i32 0, i32 1 acq_rel monotonic, align 4
  %free = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %free, label %publish, label %serial
serial:
  %some = icmp sgt i32 %n, 0
  br i1 %some, label %loop, label %end
loop:
  %i = phi i32 [ 0, %serial ], [ %following, %loop ]
  call void %body(ptr %context, i32 %i)
  %following = add i32 %i, 1
  %again = icmp slt i32 %following, %n
  br i1 %again, label %loop, label %end
publish:
  store ptr %body, ptr @body, align 8
  store ptr %context, ptr @context, align 8
  store atomic i32 0, ptr @done monotonic, align 4
  %old = load atomic i64, ptr @word monotonic, align 8
  %number = lshr i64 %old, 32
  %next = add i64 %number, 1
  %high = shl i64 %next, 32
  %wide = zext i32 %n to i64
  %extent = shl i64 %wide, 16
  %word = or i64 %high, %extent
  store atomic i64 %word, ptr @word seq_cst, align 8
  %sleepers = load atomic i32, ptr @sleepers seq_cst, align 4
  %sleeping = icmp sgt i32 %sleepers, 0
  br i1 %sleeping, label %rouse, label %share
rouse:
  %w = atomicrmw add ptr @wake, i32 1 seq_cst
  %r = call {word} ({word}, ...) @syscall({word} {futex}, ptr @wake, i32 129, i32 2147483647, ptr null, ptr null, i32 0)
  br label %share
share:
  call void @work()
  br label %finish
finish:
  %count = load atomic i32, ptr @done acquire, align 4
  %all = icmp eq i32 %count, %n
  br i1 %all, label %unlock, label %rest
rest:
  {pause}
  br label %finish
unlock:
  store atomic i32 0, ptr @busy release, align 4
  br label %end
end:
  ret void
}}
"""


def pool_ir(triple: str, *, weak: bool = False) -> str:
    """The pool for an LLVM triple (x86_64, aarch64 or ARM, Linux), as the text of a module.

    weak: its functions give way to others of the same names that they are linked with.

    Raises:
        InputError: for another architecture.
    """
    arch = "arm" if triple.startswith("arm") else triple.split("-", 1)[0]
    if arch not in _FUTEX:
        raise InputError(f"no thread pool for {triple}; there is one for {', '.join(_FUTEX)}")
    text = _IR.replace("define void", "define weak void") if weak else _IR
    return text.format(
        triple=triple,
        word="i32" if arch == "arm" else "i64",
        futex=_FUTEX[arch],
        pause=_PAUSE[arch],
        hint=_PAUSE[arch].removeprefix("call ").replace("i32 1", "i32"),
        spins=_SPINS,
        most=MOST_ITERATIONS,
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
