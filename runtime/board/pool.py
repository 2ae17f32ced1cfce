"""Room in a memory that nobody else manages."""

from __future__ import annotations

from runtime.board.errors import AllocationError
from runtime.board.interface import PAGE


class Pool:
    """Hands out pieces of addresses [begin, end), each from a multiple of PAGE, first fit."""

    def __init__(self, begin: int, end: int) -> None:
        self._begin, self._end = -(-begin // PAGE) * PAGE, end
        self._taken: dict[int, int] = {}

    def take(self, size: int) -> int:
        """The address of `size` bytes. Raises AllocationError when there is no such gap."""
        if size < 1:
            raise AllocationError(f"{size} bytes of board memory asked for; ask for 1 or more")
        at, largest = self._begin, 0
        for begin, end in [*sorted(self._taken.items()), (self._end, self._end)]:
            if begin - at >= size:
                self._taken[at] = at + size
                return at
            largest = max(largest, begin - at)
            at = max(at, -(-end // PAGE) * PAGE)
        raise AllocationError(
            f"no {size} bytes of board memory are left in one piece, at most {largest}; close what is not needed"
        )

    def give_back(self, address: int) -> None:
        """What `take` returned is free again."""
        del self._taken[address]
