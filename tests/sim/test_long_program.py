"""A program of the size of ResNet-18: both simulators run all of it and leave the same memory."""

from __future__ import annotations

import numpy as np

from hw import isa
from hw.config import Config
from hw.isa import Buffer, Gemm, Load, Requant, Store, Sync, Uop
from sim import cycle, functional

TILES = 3000


def test_seven_million_products() -> None:
    """15,000 instructions, 7.56 M GEMM operations, 18 MB of DMA, 7.9 M cycles."""
    cfg = Config()
    uops = isa.encode_uops([Uop(overwrite=k == 0, src=k, wgt=k) for k in range(9)], cfg)
    program: list[isa.Instruction] = [
        Load(buffer=Buffer.UOP, seg=uops.size),
        Load(buffer=Buffer.AUX, seg=1024, push_next=True),
        Sync(pop_prev=True),
    ]
    for k in range(TILES):
        half, later = k % 2, k > 1
        program += [
            Load(buffer=Buffer.INP, dram=65536 + k * 1024, seg=928, y_size=4, y_dram=1856, y_sram=928,
                 sram=half * 8192, pop_next=later),
            Load(buffer=Buffer.WGT, dram=65536 + k * 1024, seg=2304, sram=half * 8192, push_next=True),
            Gemm(uop_count=9, iter_out=5, iter_in=56, dst_out=56, dst_in=1, src_out=58, src_in=1, wgt_base=half * 32,
                 src_base=half * 512, pop_prev=True, push_prev=True),
            Requant(to_out=True, iter_out=2, iter_in=50, dst_out=50, dst_in=1, out_base=half * 512, push_next=True,
                    pop_next=later),
            Store(dram=1 << 22, seg=1600, sram=half * 8192, pop_prev=True, push_prev=True),
        ]  # fmt: skip
    data = isa.encode_program(program, cfg)
    memory = np.random.default_rng(0).integers(0, 256, 1 << 23, np.uint8)
    memory[: uops.size] = uops
    address = 1 << 22
    memory[address + 4096 : address + 4096 + data.size] = data

    timed = memory.copy()
    before = memory.copy()
    stats = functional.run(memory, address + 4096, len(program), cfg)
    result = cycle.run(timed, address + 4096, len(program), cfg)
    assert np.array_equal(memory, timed) and not np.array_equal(memory, before)
    assert stats.gemm_operations == result.totals["gemm"] == TILES * 9 * 5 * 56
