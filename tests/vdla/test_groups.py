"""Fused groups on VDLA: every operator family, over configurations, against the numpy references."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from hw.config import Config
from tests.vdla.cases import Case, cases, machines
from tests.vdla.groups import Refused, run_groups

CONFIGS = {
    "tiny": {},
    "wide": {"block_in": 4, "block_out": 8, "aux_buffer": 2048},
    "deep": {"block_in": 8, "block_out": 4},
    "batch 2": {"batch": 2},
    "batch 4": {"batch": 4, "block_in": 8, "bus_bits": 64},
    "odd depths": {"inp_buffer": 4 * 157, "wgt_buffer": 16 * 37, "acc_buffer": 16 * 131, "out_buffer": 4 * 83,
                   "aux_buffer": 4 * 149, "uop_buffer": 8 * 29},
    "narrow queues": {"load_queue": 2, "compute_queue": 2, "store_queue": 2, "token_depth": 1, "burst_beats": 1},
    "64-bit bus": {"block_in": 8, "block_out": 8, "bus_bits": 64, "inp_buffer": 2048, "wgt_buffer": 4096},
    "128-bit bus": {"block_in": 16, "block_out": 8, "bus_bits": 128, "axi": "axi4", "burst_beats": 64,
                    "inp_buffer": 2048, "wgt_buffer": 4096},
}  # fmt: skip

CASES = {
    "3x3": Case("conv", c=8, oc=8, pads=(1, 1, 1, 1), pad_value=7),
    "3x2, stride 2, batch": Case("conv", 2, 5, 7, 5, 9, (3, 2), (2, 2), (1, 1, 1, 1), -3),
    "1x1": Case("conv", c=16, h=4, w=4, oc=20, kernel=(1, 1)),
    "1x1, stride 2": Case("conv", c=6, h=7, w=7, oc=5, kernel=(1, 1), strides=(2, 2)),
    "5x5, stride 3": Case("conv", 3, 4, 11, 8, 4, (5, 5), (3, 3), (2, 2, 2, 2), 1),
    "uneven": Case("conv", 1, 9, 8, 5, 6, (2, 4), (1, 2), (0, 3, 1, 1), -128),
    "added first": Case("conv", c=8, oc=12, pads=(1, 1, 1, 1), pad_value=7, add="first"),
    "added second": Case("conv", c=8, oc=12, pads=(1, 1, 1, 1), pad_value=7, add="second"),
    "image of 3": Case("image", 1, 3, 13, 15, 8, (7, 7), (2, 2)),
    "image of 2": Case("image", 3, 2, 6, 6, 5, (3, 3)),
    "image of 1, added": Case("image", 1, 1, 9, 6, 10, (4, 2), (3, 1), add="first"),
    "depthwise": Case("depthwise", 2, 9, 7, 6, kernel=(3, 3), pads=(1, 1, 1, 1), pad_value=5),
    "depthwise, stride 2, added": Case("depthwise", 1, 8, 9, 9, kernel=(5, 3), strides=(2, 2), add="second"),
    "dense": Case("dense", 3, 50, oc=21),
    "max pool": Case("max", 1, 9, 9, 8, kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
    "max pool, uneven": Case("max", 2, 5, 7, 7, kernel=(2, 3), strides=(1, 2), pads=(0, 2, 1, 1)),
    "average pool": Case("sum", 1, 6, 8, 8, kernel=(2, 2), strides=(2, 2)),
    "average pool, padded": Case("sum", 3, 4, 6, 7, kernel=(3, 3), strides=(1, 2), pads=(1, 0, 2, 1), pad_value=-11),
    "global average pool": Case("sum", 2, 11, 4, 4, kernel=(4, 4)),
    "add": Case("add", 3, 10, 5, 7),
}


def check(cfg: Config, case: Case) -> None:
    """The bits are right on both simulators, with virtual threads and without.  Raises Refused."""
    for threads in (True, False):
        for run in run_groups(cfg, case.build(), case.seed, virtual_threads=threads):
            np.testing.assert_array_equal(run.functional, run.expected)
            np.testing.assert_array_equal(run.cycle, run.expected)
            assert run.cycles > 0


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("case", CASES)
def test_family(case: str, config: str) -> None:
    if CASES[case].family == "depthwise" and CONFIGS[config].get("block_in", 4) > CONFIGS[config].get("block_out", 4):
        with pytest.raises(Refused, match="needs block_out >= block_in"):
            check(Config.load("tiny").with_(**CONFIGS[config]), CASES[case])
        return
    check(Config.load("tiny").with_(**CONFIGS[config]), CASES[case])


@pytest.mark.parametrize("pad_value", [-128, -1, 0, 127])
def test_pad_value(pad_value: int) -> None:
    for case in (Case("conv", pads=(2, 0, 1, 2)), Case("sum", pads=(2, 0, 1, 2))):
        check(Config.load("tiny"), replace(case, pad_value=pad_value))


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_a_memory_that_stalls_changes_no_bit(rate: float) -> None:
    cfg = Config.load("tiny").override(["memory.stall_seed=3", f"memory.stall_rate={rate}"])
    check(cfg, CASES["3x3"])
    check(cfg, CASES["added second"])


def right_or_refused(cfg: Config, case: Case) -> None:
    try:
        check(cfg, case)
    except Refused as refusal:
        sizes = "vdla." in str(refusal) and "_buffer" in str(refusal)
        assert sizes or str(refusal) == "depthwise convolution needs block_out >= block_in", refusal


# Those in force; their class knows which are, its type does not say so.
EVERY_CHECK: Any = list(HealthCheck)


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=EVERY_CHECK)
@given(machines(), cases())
def test_any_group_on_any_machine_is_right_or_refused(cfg: Config, case: Case) -> None:
    right_or_refused(cfg, case)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=EVERY_CHECK)
@given(machines(), cases())
def test_any_group_on_any_machine_is_right_or_refused_at_length(cfg: Config, case: Case) -> None:
    right_or_refused(cfg, case)


def test_a_depthwise_convolution_says_what_it_lacks() -> None:
    cfg = Config.load("tiny").with_(block_out=16, wgt_buffer=64 * 11, aux_buffer=2048)
    case = Case("depthwise", 1, 8, 9, 5, kernel=(7, 3))
    with pytest.raises(Refused, match=r"at least 768 bytes of the wgt buffer \(vdla.wgt_buffer is 704\)"):
        check(cfg, case)
    check(cfg.with_(wgt_buffer=768), case)
