"""Machine code for CPUs through LLVM."""

from __future__ import annotations

from compiler.backend.llvm.compile import compile_functions, llvm_ir
from compiler.backend.llvm.machine import CPUS, DOT_PRODUCT, Machine, host_features

__all__ = ["CPUS", "DOT_PRODUCT", "Machine", "compile_functions", "host_features", "llvm_ir"]
