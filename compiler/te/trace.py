"""The record of a schedule: every primitive as the Python line that would apply it again."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import Any

from compiler.te.intrin import TensorIntrin
from compiler.te.tensor import IterVar, Tensor


@dataclass(frozen=True)
class TraceEntry:
    """One applied primitive: its Python text and the ``file:line`` where the user called it."""

    primitive: str
    text: str
    location: str


class Trace:
    """Names the objects of a schedule and collects :class:`TraceEntry` lines."""

    def __init__(self) -> None:
        self.entries: list[TraceEntry] = []
        self._names: dict[int, str] = {}
        self._keep: list[Any] = []  # named objects stay alive, so that their ids stay theirs
        self._taken: set[str] = {"s", "te"}
        self._axes: dict[IterVar, tuple[Tensor, str]] = {}

    def bind(self, obj: Any, wanted: str) -> str:
        """A fresh Python name for ``obj``."""
        base = re.sub(r"\W", "_", wanted) or "x"
        if base[0].isdigit() or keyword.iskeyword(base):
            base = "_" + base
        name, n = base, 0
        while name in self._taken:
            n += 1
            name = f"{base}_{n}"
        self._taken.add(name)
        self._names[id(obj)] = name
        self._keep.append(obj)
        return name

    def bind_axis(self, axis: IterVar, tensor: Tensor, attribute: str) -> None:
        """Let ``axis`` be written as ``s[tensor].attribute``."""
        self._axes[axis] = (tensor, attribute)

    def text(self, value: Any) -> str:
        """``value`` as Python text."""
        if isinstance(value, IterVar) and value in self._axes:
            tensor, attribute = self._axes[value]
            return f"s[{self.text(tensor)}].{attribute}"
        known = self._names.get(id(value)) if isinstance(value, (IterVar, Tensor)) else None
        if known is not None:
            return known
        if isinstance(value, Tensor):
            name = self.bind(value, value.name)
            self.entries.append(TraceEntry("tensor", f"{name} = s.tensor({value.name!r})", ""))
            return name
        if isinstance(value, IterVar) and value.kind == "thread":
            name = self.bind(value, value.name)
            extent = f", {value.extent}" if value.extent else ""
            self.entries.append(TraceEntry("thread_axis", f"{name} = te.thread_axis({value.tag!r}{extent})", ""))
            return name
        if isinstance(value, TensorIntrin):
            return re.sub(r"\W", "_", value.name)
        if isinstance(value, (list, tuple)):
            inner = ", ".join(self.text(v) for v in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
        return repr(value)

    def record(self, primitive: str, text: str, location: str) -> None:
        self.entries.append(TraceEntry(primitive, text, location))

    def __str__(self) -> str:
        return "\n".join(e.text for e in self.entries)
