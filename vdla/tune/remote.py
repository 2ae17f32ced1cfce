"""Kernels of other processors: compiled and linked here, timed as shared libraries on the devices of a pool, or their
instructions counted by an emulator."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.backend.aot import link
from compiler.backend.cpu import compile_kernels
from compiler.backend.cpu.platforms import Platform, platform_of
from compiler.backend.llvm import Machine
from compiler.tune.emulator import EMULATORS, KernelInstructions
from compiler.tune.measure import ProcessMeasurer
from compiler.tune.timing import KernelSeconds
from runtime.cpu import runs_ir
from runtime.kernel_library import RUN, KernelLibrary, LoadedLibrary
from runtime.thread_pool import PARALLEL_FOR, SET_THREADS, pool_ir
from runtime.version import KIT_VERSION
from vdla.errors import UsageError
from vdla.tune.cpu import CpuGroup, Place, kernel_of, reference_group, step_of
from vdla.tune.kernels import code_key, machine_key

if TYPE_CHECKING:
    from distributed.security import Security

    from compiler.tune.pool import PoolMeasurer
    from compiler.tune.pool.machine import Machine as DeviceMachine

MEMORY = 4 << 30
"""Bytes of address space that a kernel's process may use."""


def kernel_library(tuned: CpuGroup, point: int, platform: Platform, threads: int) -> KernelLibrary:
    """The kernel of a point of the group's space as a shared library with a thread pool of its own.

    Raises LinkError when the platform's linker is missing, CodegenError when LLVM cannot compile the kernel.
    """
    kernel = kernel_of(tuned, point)
    step, arena_bytes = step_of(kernel.symbol, [buffer.nbytes for buffer in kernel.func.params])
    machine = Machine.get(platform.triple, platform.cpu)
    run = f'target triple = "{machine.triple}"\n{runs_ir({RUN: [step]}, machine.index_bits // 8)}'
    image = compile_kernels(
        [kernel],
        target_triple=platform.triple,
        cpu=platform.cpu,
        more=[run, pool_ir(machine.triple, weak=True)],
        exports=[RUN, PARALLEL_FOR, SET_THREADS],
    )
    with tempfile.TemporaryDirectory(prefix="vdla-kernel-") as name:
        made = Path(name) / "kernel.o", Path(name) / "kernel.so"
        made[0].write_bytes(image)
        link([made[0]], made[1], platform)
        return KernelLibrary(made[1].read_bytes(), arena_bytes, threads)


def pool_place(
    platform_name: str, address: str, kind: str | None, keys: Security, timeout: float, patience: float = 60.0
) -> tuple[Place, PoolMeasurer]:
    """The devices of a pool that measure for a platform (``arm64``, ``armv7:cortex-a7``, ``cpu``), and the measurer.

    ``kind``: of the devices, if it is not the platform's name without a processor.  The measurer is to be closed.
    ``patience``: seconds to wait for one of them.

    Raises PoolError when there is none, UsageError when they are different ones, or not like this machine although code
    for it is wanted.
    """
    from compiler.tune.pool import PoolMeasurer
    from compiler.tune.pool.machine import processor
    from compiler.tune.pool.status import machines

    platform = platform_of(platform_name)
    kind = kind or platform.name.partition(":")[0]
    found = machines(address, kind, KIT_VERSION, keys, patience)
    named = [machine for machine in found if machine.processor == platform.cpu]
    if platform.triple is None:
        named = [machine for machine in found if machine.processor == processor()]
        if not named:
            raise UsageError(
                f"the devices of kind {kind} are not like this machine ({processor()}) but {_listing(found)}; say for "
                "which processor code is to be, e.g. --target cpu:x86-64-v3"
            )
    if len(candidates := named or found) > 1:
        raise UsageError(
            f"the devices of kind {kind} are different ones, and times on one say nothing about another: "
            f"{_listing(candidates)}; register those that are meant with a --kind of their own, and name it here"
        )
    (device,) = candidates
    reference = reference_group(platform.name)
    measure = KernelSeconds(kernel_library(reference, 0, platform, device.threads), LoadedLibrary)
    measurer = PoolMeasurer(measure, address, kind, KIT_VERSION, keys, timeout=timeout, memory=MEMORY, machine=device)
    job = partial(kernel_library, platform=platform, threads=device.threads)
    key = machine_key(device.threads) if platform.triple is None else f"{code_key(platform)}/{device}"
    return Place(device.processor, key, measurer, job), measurer


def emulator_place(platform_name: str, folder: Path, workers: int, timeout: float) -> tuple[Place, ProcessMeasurer]:
    """Instructions of an ARM platform's kernels on one thread, counted by QEMU, and the measurer to be closed.

    ``folder``: for what is compiled once; stays as long as the measurer.  Raises UsageError for another platform,
    MeasureError when the emulator or a compiler is missing.
    """
    platform = platform_of(platform_name)
    if not EMULATORS[platform.name.partition(":")[0]]:
        raise UsageError(f"--emulate counts instructions of ARM processors, not those of {platform.name}")
    count = KernelInstructions.of(platform.name, platform.linker, platform.package, folder)
    measurer = ProcessMeasurer(count, workers, timeout)
    job = partial(kernel_library, platform=platform, threads=1)
    return Place(platform.cpu, f"{code_key(platform)}/instructions", measurer, job, "instructions"), measurer


def _listing(machines: list[DeviceMachine]) -> str:
    return "; ".join(map(str, machines))
