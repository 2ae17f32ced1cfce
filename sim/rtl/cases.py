"""Machines, memories and programs for the lock-step comparison, all from seeds."""

from __future__ import annotations

import numpy as np

from hw.config import Config, MemoryConfig
from hw.errors import ConfigError
from hw.random_program import random_program
from sim.rtl.lockstep import Case


def _machine(batch: int, block_in: int, block_out: int, **other: object) -> Config:
    """A machine with buffers of few vectors, so that it is quick to build and hazards are frequent."""
    depths = {"inp": 24, "wgt": 8, "acc": 26, "out": 25}
    vectors = {
        "inp": batch * block_in,
        "wgt": block_in * block_out,
        "acc": 4 * batch * block_out,
        "out": batch * block_out,
    }
    buffers = {f"{name}_buffer": depth * vectors[name] for name, depth in depths.items()}
    buffers |= {"uop_buffer": 8 * 33, "aux_buffer": (2 * -(-8 // batch) + 3) * batch * block_out}
    return Config.from_dict(
        {"name": "lockstep", "vdla": {"batch": batch, "block_in": block_in, "block_out": block_out, **buffers, **other}}
    )


SMALL = (
    _machine(1, 8, 8, bus_bits=64),
    _machine(1, 4, 8, bus_bits=32, token_depth=2, load_queue=2, compute_queue=3, store_queue=2, burst_beats=4),
    _machine(2, 8, 4, bus_bits=128, axi="axi4", burst_beats=64),
    _machine(4, 4, 4, bus_bits=64, instruction_bits=512, token_depth=1, compute_queue=2, burst_beats=1),
)
"""The machines of the normal tests."""

PROFILES = (
    MemoryConfig(),
    MemoryConfig(
        read_latency=5, write_latency=3, read_outstanding=2, write_outstanding=2, stall_seed=1, stall_rate=0.3
    ),
    MemoryConfig(read_latency=1, write_latency=1, read_outstanding=1, write_outstanding=1),
    MemoryConfig(read_latency=17, write_latency=9, read_outstanding=3, stall_seed=0xDEADBEEF, stall_rate=0.8),
)
"""Memories: the default, one with stalls, the shortest, and one that stalls most of the time."""


def random_machine(seed: int) -> Config:
    """A small machine of any shape: block sizes, batch, odd buffer depths, bus, queues, tokens."""
    rng = np.random.default_rng(seed)

    def pick(*options: int) -> int:
        return int(rng.choice(options))

    while True:
        axi = ("axi3", "axi4")[pick(0, 1)]
        try:
            cfg = _machine(
                pick(1, 1, 2, 4, 8),
                pick(4, 8, 8, 16),
                pick(4, 8, 8, 16),
                bus_bits=pick(32, 64, 64, 128),
                axi=axi,
                burst_beats=pick(1, 2, 4, 16, 16) if axi == "axi3" else pick(4, 16, 64, 256),
                instruction_bits=pick(256, 256, 512),
                token_depth=pick(1, 2, 5, 63),
                load_queue=pick(2, 3, 8, 32),
                compute_queue=pick(2, 3, 8, 32),
                store_queue=pick(2, 3, 8, 32),
            )
            vector = cfg.batch * cfg.block_out
            cfg = cfg.with_(
                inp_buffer=cfg.batch * cfg.block_in * pick(9, 16, 37),
                wgt_buffer=cfg.block_in * cfg.block_out * pick(3, 5, 8),
                acc_buffer=4 * vector * pick(7, 12, 40),
                out_buffer=vector * pick(7, 12, 40),
                aux_buffer=vector * (cfg.param_vectors * pick(1, 2, 3) + pick(0, 1, 5)),
                uop_buffer=8 * pick(16, 33),
            )
        except ConfigError:
            continue
        # Larger multiplier arrays take long to build and show nothing that smaller ones do not.
        if cfg.macs_per_cycle <= 512:
            return cfg


def random_case(seed: int, cfg: Config, length: int = 30) -> Case:
    """A random race-free program of about `length` instructions after its initialisation."""
    made = random_program(np.random.default_rng(seed), cfg, length)
    return Case(cfg, made.memory, made.program, made.program_address)
