"""Bit fields of many little-endian words at once: instructions as rows of 64-bit numbers."""

from __future__ import annotations

import numpy as np

from hw.config import Config


def rows_of(program: np.ndarray, cfg: Config) -> np.ndarray:
    """An encoded program (uint8) as uint64[instructions, words]; a view where the bytes lie aligned."""
    return np.ascontiguousarray(program).view("<u8").reshape(-1, cfg.instruction_bytes // 8)


def take_bits(words: np.ndarray, offset: int, width: int) -> np.ndarray:
    """Bits offset..offset+width-1 of each row, as int64 (width < 64)."""
    word, shift = divmod(offset, 64)
    values = words[:, word] >> np.uint64(shift)
    if shift + width > 64:
        values = values | (words[:, word + 1] << np.uint64(64 - shift))
    return (values & np.uint64((1 << width) - 1)).astype(np.int64)


def put_bits(words: np.ndarray, offset: int, width: int, values: np.ndarray) -> None:
    """Set those bits of each row, in place, to values (int64) that fit them."""
    word, shift = divmod(offset, 64)
    bits, mask = values.astype(np.uint64), (1 << width) - 1
    words[:, word] &= np.uint64(~(mask << shift) & (2**64 - 1))
    words[:, word] |= bits << np.uint64(shift)
    if shift + width > 64:
        words[:, word + 1] &= np.uint64(~(mask >> (64 - shift)) & (2**64 - 1))
        words[:, word + 1] |= bits >> np.uint64(64 - shift)
