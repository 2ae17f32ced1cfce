"""Ahead of time: a whole network as one object or shared library with a C interface, weights and memory plan inside."""

from __future__ import annotations

from compiler.backend.aot.build import Built, build
from compiler.backend.aot.header import ABI_VERSION
from compiler.backend.aot.link import LinkError, link
from compiler.backend.aot.program import Program

__all__ = ["ABI_VERSION", "Built", "LinkError", "Program", "build", "link"]
