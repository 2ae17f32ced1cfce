"""A program of the size of ResNet-18 stays within the simulators' time budgets."""

from __future__ import annotations

import time

import numpy as np

from hw import isa
from hw.config import Config
from hw.isa import Buffer, Gemm, Load, Requant, Store, Sync, Uop
from sim import cycle, functional

TILES = 3000


def test_seven_million_products_take_seconds() -> None:
    """15,000 instructions, 7.56 M GEMM operations, 18 MB of DMA, 7.9 M cycles; about 0.1 s where it was written."""
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
    memory = np.zeros(1 << 23, np.uint8)
    memory[: uops.size] = uops
    address = 1 << 22
    memory[address + 4096 : address + 4096 + data.size] = data

    start = time.perf_counter()
    stats = functional.run(memory, address + 4096, len(program), cfg)
    between = time.perf_counter()
    result = cycle.run(memory, address + 4096, len(program), cfg)
    end = time.perf_counter()
    assert stats.gemm_operations == result.totals["gemm"] == TILES * 9 * 5 * 56
    assert between - start < 2.0
    assert end - between < 5.0
