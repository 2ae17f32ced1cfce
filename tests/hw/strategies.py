"""Hypothesis strategies of the machine: legal configurations, instructions with any values that fit."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from hw import isa
from hw.config import Config
from hw.errors import ConfigError
from hw.random_program import random_instruction


@st.composite
def configs(draw) -> Config:
    """A legal configuration, buffers of any multiple of their vectors."""
    batch = draw(st.sampled_from([1, 2, 4, 8]))
    block_in, block_out = draw(st.sampled_from([4, 8, 16, 32, 64])), draw(st.sampled_from([4, 8, 16, 32, 64]))
    size = st.integers(8, 3000)
    axi = draw(st.sampled_from(["axi3", "axi4"]))
    parameters = {
        "batch": batch,
        "block_in": block_in,
        "block_out": block_out,
        "uop_buffer": 8 * draw(size),
        "inp_buffer": batch * block_in * draw(size),
        "wgt_buffer": block_in * block_out * draw(st.integers(2, 1000)),
        "acc_buffer": 4 * batch * block_out * draw(size),
        "out_buffer": batch * block_out * draw(size),
        "aux_buffer": batch * block_out * draw(size),
        "bus_bits": draw(st.sampled_from([32, 64, 128, 256, 512])),
        "axi": axi,
        "burst_beats": draw(st.integers(1, 16 if axi == "axi3" else 256)),
        "instruction_bits": 512,
        "token_depth": draw(st.integers(1, 63)),
        "load_queue": draw(st.integers(2, 32)),
    }
    return Config(**parameters)


@st.composite
def instructions(draw, cfg: Config) -> isa.Instruction:
    """An instruction whose fields hold any values that fit them."""
    return random_instruction(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), cfg)


def refusal(**parameters) -> ConfigError:
    """The error with which a configuration is refused."""
    try:
        Config(**parameters)
    except ConfigError as error:
        return error
    raise AssertionError(f"{parameters} was not refused")
