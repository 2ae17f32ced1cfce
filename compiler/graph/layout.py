"""Storage layouts as strings, and the numpy packing that defines their bytes.

A layout string names axes in storage order: an upper-case letter is an axis, a number and a lower-case letter an
inner block of it. "NCHW" is plain; "NCHW1n16c" stores [N/1][ceil(C/16)][H][W][1][16]; "OIHW16o16i" tiles a weight.
The letters' order of first appearance is the order of the logical axes. Tails are padded with zeros. A tensor of
lower rank is read as if trailing axes of extent 1 followed ([N,C] is H = W = 1).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np

from compiler.errors import LayoutError

DEFAULT_LAYOUT = "NCHW"
_TOKEN = re.compile(r"([A-Z])|([1-9][0-9]*)([a-z])")


@lru_cache(maxsize=256)
def parse_layout(layout: str) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Return (axis letters, inner blocks as (axis index, factor) in storage order); LayoutError when malformed."""
    axes: list[str] = []
    blocks: list[tuple[str, int]] = []
    position = 0
    while position < len(layout):
        match = _TOKEN.match(layout, position)
        if match is None:
            raise LayoutError(f"layout '{layout}' is malformed at '{layout[position:]}'; an example is 'NCHW1n16c'")
        if match[1]:
            if blocks or match[1] in axes:
                raise LayoutError(f"layout '{layout}': axis {match[1]} is repeated or follows an inner block")
            axes.append(match[1])
        else:
            blocks.append((match[3].upper(), int(match[2])))
        position = match.end()
    unknown = [letter for letter, _ in blocks if letter not in axes]
    if unknown or not axes:
        raise LayoutError(f"layout '{layout}' blocks an axis it does not have: {unknown}")
    return tuple(axes), tuple((axes.index(letter), factor) for letter, factor in blocks)


def is_plain(layout: str) -> bool:
    """Whether a layout stores the logical tensor in row-major order as it is."""
    return not parse_layout(layout)[1]


def _extended(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    axes, _ = parse_layout(layout)
    if len(shape) > len(axes):
        raise LayoutError(f"layout '{layout}' has {len(axes)} axes, the tensor has shape {shape}")
    return (*shape, *[1] * (len(axes) - len(shape)))


def storage_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The stored shape of a logical shape; LayoutError when the rank does not fit a blocked layout."""
    if is_plain(layout):
        return tuple(shape)
    _, blocks = parse_layout(layout)
    outer = list(_extended(tuple(shape), layout))
    factors = [1] * len(outer)
    for axis, factor in blocks:
        factors[axis] *= factor
    return (*(-(-size // factor) for size, factor in zip(outer, factors, strict=True)), *(f for _, f in blocks))


def pack(array: np.ndarray, layout: str) -> np.ndarray:
    """Store a logical array in `layout` (zeros in the tails): contiguous, of storage_shape(array.shape, layout)."""
    if is_plain(layout):
        return np.ascontiguousarray(array)
    _, blocks = parse_layout(layout)
    shape = _extended(array.shape, layout)
    stored = storage_shape(array.shape, layout)
    rank = len(shape)
    per_axis = [[stored[axis]] + [f for a, f in blocks if a == axis] for axis in range(rank)]
    padded = array.reshape(shape)
    whole = tuple(math.prod(sizes) for sizes in per_axis)
    if whole != shape:
        padded = np.zeros(whole, dtype=array.dtype)
        padded[tuple(slice(0, size) for size in shape)] = array.reshape(shape)
    split = padded.reshape([size for sizes in per_axis for size in sizes])
    return np.ascontiguousarray(split.transpose(_storage_order(rank, blocks)))


def unpack(stored: np.ndarray, shape: tuple[int, ...], layout: str) -> np.ndarray:
    """Inverse of pack: the logical array of `shape`, the tails dropped."""
    if is_plain(layout):
        return stored.reshape(shape)
    _, blocks = parse_layout(layout)
    extended = _extended(tuple(shape), layout)
    order = _storage_order(len(extended), blocks)
    split = stored.reshape(storage_shape(tuple(shape), layout)).transpose(np.argsort(order))
    outer = storage_shape(tuple(shape), layout)[: len(extended)]
    padded = [outer[axis] * int(np.prod([f for a, f in blocks if a == axis])) for axis in range(len(extended))]
    logical = split.reshape(padded)[tuple(slice(0, size) for size in extended)]
    return np.ascontiguousarray(logical).reshape(shape)


def _storage_order(rank: int, blocks: tuple[tuple[int, int], ...]) -> list[int]:
    """Permutation from the split form (each axis followed by its blocks) to storage order."""
    first, inner, position = [], {}, 0
    for axis in range(rank):
        first.append(position)
        position += 1
        for index, (block_axis, _) in enumerate(blocks):
            if block_axis == axis:
                inner[index] = position
                position += 1
    return first + [inner[index] for index in range(len(blocks))]
