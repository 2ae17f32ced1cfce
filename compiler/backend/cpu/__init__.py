"""CPUs as a target: layouts, schedules and kernels of every operator that has a tensor expression."""

from __future__ import annotations

from compiler.backend.cpu.target import CpuKernel, CpuTarget, compile_kernels, symbol_of

__all__ = ["CpuKernel", "CpuTarget", "compile_kernels", "symbol_of"]
