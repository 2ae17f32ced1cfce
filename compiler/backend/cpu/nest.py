"""The loops around the tiles of an output: their order, and parts of them further out.

A loop is called by a letter, o for blocks of output channels, h and w for rows and columns of tiles, and an order by
the letters of its loops, the outermost first. The second loop may be cut into parts, which are then outermost of all:
"ohw" with 4 parts runs a quarter of the rows for all channels before the next, so that these rows stay in a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from compiler.backend.cpu.parallel import parallelize
from compiler.te.stage import Stage
from compiler.te.tensor import IterVar
from compiler.tune.space import Knobs, Values

#: orders of the loops over an image
ORDERS = ("ohw", "how", "hwo")
_ROWS_OUTSIDE = ("how", "ohw", "hwo")
#: into how many parts the second loop is cut
PARTS = (1, 2, 4)


def orders(rows_outside: bool) -> tuple[str, ...]:
    """All of them, the one expected to be fastest first.

    The outermost loop is what threads divide. Each reads from its own cache what it wrote in the kernel before, if that
    was divided alike; else half of it, or more, comes from another core's. So it is rows wherever an image is larger
    than the weights that belong to it, and channels where each thread should rather read its own weights only.
    """
    return _ROWS_OUTSIDE if rows_outside else ORDERS


Sizes = Callable[[Values], Mapping[str, int]]
"""Iterations of the loops, by letter, at the values of all knobs."""


@dataclass(frozen=True)
class Nest:
    """Which loops are around the tiles.

    order: letters, outermost first. parts: of the second loop.
    """

    order: str
    parts: int

    @staticmethod
    def ask(knobs: Knobs, sizes: Sizes, orders: Sequence[str] = ORDERS) -> Nest:
        """The nest that the knobs `order` and `parts` say; rules leave one of several that are the same."""

        def ordered(at: Values) -> bool:
            extents = sizes(at)
            found = [_moving(order, extents) for order in orders[: orders.index(at["order"]) + 1]]
            return found[-1] not in found[:-1]

        def parted(at: Values) -> bool:
            if at["parts"] == 1:
                return True
            first, second = (sizes(at)[letter] for letter in at["order"][:2])
            return first > 1 and second % at["parts"] == 0

        nest = Nest(knobs.choice("order", orders), knobs.choice("parts", PARTS))
        knobs.require("loops of one iteration have no order", ordered)
        knobs.require("parts divide the second loop, inside another", parted)
        return nest

    def extents(self, sizes: Mapping[str, int]) -> list[tuple[str, int]]:
        """Letter and iterations of each loop, outermost first."""
        first, second, *others = ((letter, sizes[letter]) for letter in self.order)
        if self.parts == 1:
            return [first, second, *others]
        return [(second[0], self.parts), first, (second[0], second[1] // self.parts), *others]

    def arrange(self, stage: Stage, axes: Mapping[str, IterVar]) -> list[IterVar]:
        """Cut the second of the loops `axes` of a stage; all of them in their order."""
        first, second, *others = (axes[letter] for letter in self.order)
        if self.parts == 1:
            return [first, second, *others]
        outer, inner = stage.split(second, nparts=self.parts)
        return [outer, first, inner, *others]

    def parallelize(self, stage: Stage, batch: IterVar, loops: Sequence[IterVar], position: int) -> IterVar:
        """Run outer ones of `batch` and the `loops` as tasks, none inside loops[position] and not the innermost;
        the loop in which a step of loops[position] is then done."""
        last = min(position, len(loops) - 2)
        fused = parallelize(stage, [batch, *loops[: last + 1]])
        return loops[position] if fused is None or loops[position] in stage.leaf_iter_vars else fused


def _moving(order: str, sizes: Mapping[str, int]) -> str:
    """An order without the loops of one iteration."""
    return "".join(letter for letter in order if sizes[letter] > 1)
