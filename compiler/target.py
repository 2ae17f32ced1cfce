"""The plug-in interface of targets: which operators one takes and why not, its layouts, its code generator.

A target is registered under a name by whoever owns it; the compiler names none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compiler.errors import TargetError
from compiler.graph.fuse import FusedGroup
from compiler.graph.ir import Node
from compiler.graph.pass_manager import GraphPass


@dataclass(frozen=True)
class NodeLayouts:
    """The storage layouts a target wants for one node: of each input (None: whatever it has) and of the output."""

    inputs: tuple[str | None, ...]
    output: str


class Target(ABC):
    """A device that graph operators can be compiled for."""

    name: str

    @abstractmethod
    def supports(self, node: Node) -> str | None:
        """None when the target takes a node, else the reason why not, in words for the user."""

    def supports_group(self, group: FusedGroup) -> str | None:
        """As `supports`, for a fused group all of whose nodes it takes (a group may leave too much for the device)."""
        return None

    def fuses_rows(self, group: FusedGroup) -> bool:
        """Whether reductions and the injective operators around them, as here, work row by row in one kernel.

        Asked beyond the paper's classes, where a reduction ends a group. A target that stays with those says no.
        """
        return False

    def preferred_layouts(self, node: Node) -> NodeLayouts | None:
        """The layouts wanted around a node; None for the default layout everywhere."""
        return None

    def graph_passes(self) -> Sequence[GraphPass]:
        """Passes that the target adds to the graph pipeline, before partitioning."""
        return ()

    @abstractmethod
    def compile(self, group: FusedGroup, **options: Any) -> Any:
        """Generate code for one group; what it returns is between the target and its runtime.

        Raises CompileError when the group cannot be compiled.
        """


_TARGETS: dict[str, Target] = {}


def register_target(target: Target, *, replace: bool = False) -> Target:
    """Make a target known under its name; TargetError when the name is taken and `replace` is not given."""
    if target.name in _TARGETS and not replace:
        raise TargetError(f"target '{target.name}' is already registered")
    _TARGETS[target.name] = target
    return target


def get_target(name: str) -> Target:
    """Look a target up; TargetError naming those there are."""
    try:
        return _TARGETS[name]
    except KeyError:
        raise TargetError(f"no target '{name}'; registered are: {', '.join(sorted(_TARGETS)) or 'none'}") from None


def target_names() -> tuple[str, ...]:
    """The names of the registered targets, sorted."""
    return tuple(sorted(_TARGETS))
