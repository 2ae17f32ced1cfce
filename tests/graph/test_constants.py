"""Equal constants are found again, and only they."""

from __future__ import annotations

import numpy as np

from compiler.graph.constants import DistinctBytes, bytes_of


def test_equal_bytes_have_one_place() -> None:
    rng = np.random.default_rng(0)
    known = DistinctBytes()
    placed: list[np.ndarray] = []

    def place(array: np.ndarray) -> int:
        raw = bytes_of(array)

        def append() -> int:
            placed.append(raw)
            return len(placed) - 1

        return known.place(raw, append)

    large = rng.standard_normal(5000).astype(np.float32)
    nearly = large.copy()
    nearly.view(np.uint8)[1234] ^= 1  # where no sample is taken
    arrays = [large, nearly, large[:4999], rng.integers(0, 9, 3), np.array(1.0), np.zeros(0), np.zeros((2, 3))]
    assert [place(array) for array in arrays] == list(range(len(arrays)))
    assert [place(array.copy()) for array in arrays] == list(range(len(arrays)))
    assert place(large.reshape(50, 100)) == place(np.asfortranarray(large.reshape(50, 100))) == 0
    assert placed[0].tobytes() == large.tobytes()
