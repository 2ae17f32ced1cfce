"""Storage layouts: the packing against its index formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import LayoutError
from compiler.graph.layout import pack, parse_layout, storage_shape, unpack

EXTENT = st.integers(1, 9)
BLOCK = st.sampled_from([1, 2, 4, 8])


@given(st.tuples(EXTENT, EXTENT, EXTENT, EXTENT), BLOCK, BLOCK)
def test_packed_images_follow_the_formula(shape: tuple[int, int, int, int], b: int, c: int) -> None:
    """[N/b][ceil(C/c)][H][W][b][c] with zeros in the tails, and back."""
    layout = f"NCHW{b}n{c}c"
    array = np.arange(1, np.prod(shape) + 1, dtype=np.int32).reshape(shape)
    stored = pack(array, layout)
    n, channels, height, width = shape
    assert stored.shape == storage_shape(shape, layout) == (-(-n // b), -(-channels // c), height, width, b, c)
    assert stored.flags.c_contiguous
    for i, j, y, x, k, m in np.ndindex(*stored.shape):
        inside = i * b + k < n and j * c + m < channels
        assert stored[i, j, y, x, k, m] == (array[i * b + k, j * c + m, y, x] if inside else 0)
    np.testing.assert_array_equal(unpack(stored, shape, layout), array)


@given(st.tuples(EXTENT, EXTENT, EXTENT, EXTENT), BLOCK, BLOCK)
def test_tiled_weights_return(shape: tuple[int, int, int, int], o: int, i: int) -> None:
    array = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    layout = f"OIHW{o}o{i}i"
    stored = pack(array, layout)
    assert stored[0, 0, 0, 0].shape == (o, i) and stored[0, 0, 0, 0, 0, 0] == array[0, 0, 0, 0]
    np.testing.assert_array_equal(unpack(stored, shape, layout), array)


def test_vectors_are_images_of_one_pixel() -> None:
    array = np.arange(40, dtype=np.int8).reshape(2, 20)
    stored = pack(array, "NCHW1n16c")
    assert stored.shape == (2, 2, 1, 1, 1, 16)
    assert stored[1, 1, 0, 0, 0, 3] == 39
    np.testing.assert_array_equal(unpack(stored, (2, 20), "NCHW1n16c"), array)


def test_the_plain_layout_keeps_any_rank() -> None:
    array = np.zeros((2, 3, 4, 5, 6))
    assert storage_shape(array.shape, "NCHW") == array.shape
    assert pack(array, "NCHW").shape == array.shape


@pytest.mark.parametrize("bad", ["", "NCHW16", "NCHWc", "NC HW", "NCHW16x", "NCNW", "16nNC", "NC16cH"])
def test_malformed_layouts_are_refused(bad: str) -> None:
    with pytest.raises(LayoutError):
        parse_layout(bad)
