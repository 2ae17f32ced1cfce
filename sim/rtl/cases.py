"""Machines, memories and programs for the lock-step comparison, all from seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hw.config import Config, MemoryConfig
from hw.errors import ConfigError
from hw.isa import Instruction
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
    """A random race-free program of about `length` instructions after its initialisation.

    Every second one has tokens that it does not need as well, on instructions that otherwise never carry any.
    """
    rng = np.random.default_rng(seed)
    made = random_program(rng, cfg, length)
    program = _with_idle_tokens(rng, made.program) if seed % 2 else made.program
    return Case.place(program, cfg, made.memory, made.program_address)


def _with_idle_tokens(rng: np.random.Generator, program: list[Instruction]) -> list[Instruction]:
    """The program with a few more pairs of push and pop that order what follows each other anyway.

    A pair goes only where its counter is empty from the push to the pop, so that every other pop keeps its push.
    """
    result = list(program)
    for producer, consumer in ((0, 1), (1, 0), (1, 2), (2, 1)):
        push = "push_next" if consumer > producer else "push_prev"
        pop = "pop_prev" if consumer > producer else "pop_next"
        count, first = 0, -1
        for index, instr in enumerate(program):
            pushes = instr.UNIT == producer and getattr(instr, push)
            pops = instr.UNIT == consumer and getattr(instr, pop)
            count += int(pushes) - int(pops)
            if pushes or pops:
                first = -1
            elif count == 0 and first < 0 and instr.UNIT == producer and rng.random() < 0.85:
                first = index
            elif first >= 0 and instr.UNIT == consumer and rng.random() < 0.85:
                result[first] = replace(result[first], **{push: True})
                result[index] = replace(result[index], **{pop: True})
                first = -1
    return result
