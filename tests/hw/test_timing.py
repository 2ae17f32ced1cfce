"""The stall profile, and the written rules' agreement with the constants."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hw import timing

RULES = (Path(__file__).resolve().parents[2] / "docs" / "timing.md").read_text(encoding="utf-8")


def reference_gap(seed: int, rate: float, channel: int, index: int) -> int:
    """The hash in plain integers, as a bench in another language would write it."""
    mask = 0xFFFFFFFF
    x = (index * 0x9E3779B1 + seed * 0x85EBCA77 + channel * 0xC2B2AE3D) & mask
    x = ((x ^ x >> 16) * 0x7FEB352D) & mask
    x = ((x ^ x >> 15) * 0x846CA68B) & mask
    x ^= x >> 16
    return 1 + (x & 7) if x >> 8 < int(rate * 2**24) else 0


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**32 - 1])
@pytest.mark.parametrize("channel", [timing.READ, timing.WRITE, timing.RESPONSE])
@pytest.mark.parametrize("rate", [0.01, 0.5, 0.99])
def test_gaps_equal_the_hash_in_plain_integers(seed: int, channel: int, rate: float):
    index = np.concatenate([np.arange(200), np.array([2**31, 2**32 - 1, 2**32, 2**40])])
    gaps = timing.stall_gap(seed, rate, channel, index)
    assert gaps.dtype == np.int64
    assert gaps.tolist() == [reference_gap(seed, rate, channel, int(k)) for k in index]


def test_gaps_occur_at_their_rate_and_have_all_lengths():
    gaps = timing.stall_gap(3, 0.25, timing.READ, np.arange(40000))
    assert abs((gaps > 0).mean() - 0.25) < 0.01
    assert set(gaps.tolist()) == set(range(timing.LONGEST_GAP + 1))


def test_without_a_seed_or_a_rate_there_are_no_gaps():
    assert not timing.stall_gap(None, 0.5, timing.READ, np.arange(9)).any()
    assert not timing.stall_gap(7, 0.0, timing.READ, np.arange(9)).any()


def test_the_rules_use_every_constant_and_no_other():
    code = " ".join(RULES.split("`")[1::2])
    named = set(re.findall(r"\b([A-Z]+)\b", code)) | set(re.findall(r"\b([A-Z]+_[A-Z_]+)\b", RULES))
    numbers = {n for n, v in vars(timing).items() if n.isupper() and isinstance(v, int)}
    unnamed = {"PAGE", "LONGEST_GAP"}  # the rules say 4096, and leave lengths to the hash
    assert numbers - unnamed <= named
    assert {n for n in named if "_" in n} <= numbers


def test_the_rules_list_the_causes_in_order_of_precedence():
    assert tuple(re.findall(r"^\| `(\w+)` \|", RULES, re.M)) == timing.CAUSES
