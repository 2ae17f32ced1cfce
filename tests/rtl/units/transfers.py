"""Random loads and stores that stay inside their buffers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

DRAM_BYTES = 1 << 15


def random_transfer(rng: np.random.Generator, size: int) -> dict[str, Any]:
    """The fields of a LOAD or STORE with a buffer of `size` bytes: both strides, any alignment."""
    while True:
        seg, x_size, y_size = (int(rng.integers(1, n)) for n in (40, 5, 4))
        x_sram, y_sram = int(rng.integers(0, 45)), int(rng.integers(0, 90))
        span = (x_size - 1) * x_sram + (y_size - 1) * y_sram + seg
        if span > size:
            continue
        kind = rng.random()
        return {
            "dram": int(rng.integers(0, DRAM_BYTES - 3 * 5000 - 4 * 90 - 40)),
            "sram": int(rng.integers(0, size - span + 1)),
            "seg": seg,
            "x_size": x_size,
            "x_dram": seg if kind < 0.4 else int(rng.integers(0, 90)),
            "x_sram": seg if kind < 0.2 and (x_size - 1) * seg + (y_size - 1) * y_sram + seg <= span else x_sram,
            "y_size": y_size,
            "y_dram": int(rng.integers(0, 5000)) if kind < 0.7 else int(rng.integers(0, 60)),
            "y_sram": y_sram,
        }


def burst_starts(m: Any, runs: Any, bursts: list[list[int]], bus: int) -> Iterator[tuple[int, int]]:
    """(first bus word, beats) of each burst of a transfer, from its runs and their numbers of beats."""
    left = iter(bursts)
    for address, length in runs(m):
        at, end = address // bus, -(-(address + length) // bus)
        while at < end:
            beats = len(next(left))
            yield at, beats
            at += beats
