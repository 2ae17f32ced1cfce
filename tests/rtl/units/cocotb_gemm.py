"""Multiplier array against numpy: a stream of operations with gaps, extremes among the operands, accumulators in a
memory of the bench's own, reused as soon as GEMM_HAZARD allows."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
import numpy as np

from hw.rtl.gemm import GemmArray
from hw.rtl.layouts import operation_layout
from hw.timing import GEMM_HAZARD, GEMM_LATENCY
from tests.rtl.units.common import PARAMETERS, Pins, array, generator, machine, pack, word

EXTREMES = np.array([-128, -127, -1, 0, 1, 127])
ACCUMULATORS = 5


def unit(parameters: dict[str, Any]) -> GemmArray:
    return GemmArray(machine(parameters), parameters.get("packed", False))


@cocotb.test()
async def multiplies_and_accumulates(dut: Any) -> None:
    cfg, rng, pins = machine(PARAMETERS), generator(), Pins(dut)

    def operands(*shape: int) -> np.ndarray:
        return np.where(rng.random(shape) < 0.5, rng.choice(EXTREMES, shape), rng.integers(-128, 128, shape)).astype(
            np.int8
        )

    shape = (cfg.batch, cfg.block_out)
    memory = rng.integers(-(2**31), 2**31, (ACCUMULATORS, *shape)).astype(np.int32)
    model = memory.copy()
    expected: deque[tuple[int, int, np.ndarray]] = deque()  # cycle of the issue, accumulator, value
    used = dict.fromkeys(range(ACCUMULATORS), -99)
    layout = operation_layout(cfg)
    await pins.start(operation=0, inp=0, wgt=0, acc=0)
    next_inputs: dict[str, int] = {}
    for _ in range(500):
        inputs, next_inputs = next_inputs, {}
        issue = pins.cycle - 1  # `operation` is what was issued a cycle ago
        dst = int(rng.integers(ACCUMULATORS))
        overwrite = bool(rng.random() < 0.3)
        operation: dict[str, Any] = {}
        if (overwrite or issue >= used[dst] + GEMM_HAZARD) and pins.cycle < 480 and rng.random() < 0.8:
            operation = {"gemm": 1, "dst": dst, "overwrite": int(overwrite)}
            x, w = operands(cfg.batch, cfg.block_in), operands(cfg.block_out, cfg.block_in)
            product = x.astype(np.int64) @ w.astype(np.int64).T
            model[dst] = (
                (product + (0 if overwrite else model[dst]))
                .astype(np.int64)
                .astype(np.uint64)
                .astype(np.uint32)
                .view(np.int32)
            )
            expected.append((issue, dst, model[dst].copy()))
            used[dst] = issue
            next_inputs = {"inp": word(x), "wgt": word(w)}
        else:
            # Between operations the inputs may be anything.
            next_inputs = {"inp": word(operands(cfg.batch, cfg.block_in))}
        await pins.drive(operation=pack(layout, operation), **inputs)
        read = pins["index"] if pins["read"] else None
        next_inputs["acc"] = (
            word(memory[read]) if read is not None else word(rng.integers(0, 256, memory[0].nbytes).astype(np.uint8))
        )
        if pins["write"]:
            issued, target, value = expected.popleft()
            assert pins["target"] == target and pins.cycle - issued <= GEMM_LATENCY
            memory[target] = array(pins["result"], np.int32, *shape)
            np.testing.assert_array_equal(memory[target], value)
        await pins.tick()
    assert not expected
    np.testing.assert_array_equal(memory, model)
