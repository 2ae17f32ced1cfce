"""Machine code for CPUs through LLVM."""

from __future__ import annotations

from compiler.backend.llvm.compile import ObjectOptions, compile_fingerprinted, compile_functions, llvm_ir
from compiler.backend.llvm.machine import CPUS, EXTENSIONS, Machine, host_features

__all__ = [
    "CPUS", "EXTENSIONS", "Machine", "ObjectOptions", "compile_fingerprinted", "compile_functions", "host_features",
    "llvm_ir",
]  # fmt: skip
