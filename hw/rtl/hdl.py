"""Amaranth's classes, as a type checker should see them.

Amaranth makes the attributes of components, views and modules from values at run time, and its operators take what
looks like a value; a checker that reads its sources knows neither. All units import these names from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, ResetSignal, signed, unsigned
from amaranth.lib.wiring import In, Out

if TYPE_CHECKING:
    Array: Any
    Cat: Any
    Const: Any
    Mux: Any

    class Component(Any):
        """lib.wiring.Component"""

    class Memory(Any):
        """lib.memory.Memory"""

    class Module(Any):
        """hdl.Module"""

    class Signal(Any):
        """hdl.Signal"""
else:
    from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
    from amaranth.lib.memory import Memory
    from amaranth.lib.wiring import Component

__all__ = [
    "Array", "Cat", "ClockDomain", "ClockSignal", "Component", "Const", "DomainRenamer", "In", "Memory", "Module",
    "Mux", "Out", "ResetSignal", "Signal", "signed", "unsigned",
]  # fmt: skip
