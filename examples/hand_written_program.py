"""A program for the machine written by hand: a small matrix product, requantised and stored.

No compiler is involved: assembler text, data placed in a DRAM image, both simulators. Run it with

    python examples/hand_written_program.py

It multiplies eight input vectors of 16 channels by a 16 x 16 weight tile and scales the sums to 8 bits,
y = clip((x . transpose(w) + bias) * mult / 2**shift), half of the vectors at a time, so that the second
half's product overlaps with the first half's write-back.
"""

from __future__ import annotations

import numpy as np

import sim
from hw import asm, isa
from hw.config import Config

ROWS = 8
# Where things lie in DRAM. A program starts at a multiple of the instruction's size.
PROGRAM, UOPS, PARAMS, WEIGHTS, INPUTS, OUTPUTS = 0x0000, 0x1000, 0x1100, 0x1200, 0x1300, 0x1400

# Tokens order what shares data: the loads push one to compute, each requantisation pushes one to store.
# Micro-op 0 overwrites its accumulator (all indices 0); the instructions' loops walk over the vectors.
TEXT = f"""
load uop dram={UOPS} seg=4
load inp dram={INPUTS} seg={16 * ROWS}
load wgt dram={WEIGHTS} seg=256
load aux dram={PARAMS} seg=128 push=compute

gemm uop=0+1 in=4 dst=0+0+1 src=0+0+1 pop=load              # acc[0..3] = inp[0..3] . transpose(wgt[0])
requant to_out uop=0+1 in=4 dst=0+0+1 out_base=0 push=store # out[0..3] = requantised acc[0..3]
gemm uop=0+1 in=4 dst=4+0+1 src=4+0+1                       # the other half, while the first is stored
requant to_out uop=0+1 in=4 dst=4+0+1 out_base=4 push=store

store dram={OUTPUTS} sram=0 seg=64 pop=compute
store dram={OUTPUTS + 64} sram=64 seg=64 pop=compute
"""


def reference(x: np.ndarray, w: np.ndarray, bias: np.ndarray, mult: int, shift: int) -> np.ndarray:
    """What the program computes: int8[rows, 16], from int8 x[rows, 16] and w[16, 16] and int32 bias[16]."""
    sums = x.astype(np.int64) @ w.T.astype(np.int64) + bias
    # np.rint rounds half to even, as the machine does; the quotients are exact in float64.
    return np.clip(np.rint(sums * mult / 2**shift), -128, 127).astype(np.int8)


def main() -> None:
    """Build the DRAM image, run both simulators, print the result and the cycles."""
    cfg = Config()
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, (ROWS, 16), np.int8)
    w = rng.integers(-128, 128, (16, 16), np.int8)
    bias = rng.integers(-5000, 5000, 16, np.int32)
    mult, shift = 77_000, 26
    entry = np.stack([bias, np.full(16, mult | shift << 18, np.int32)], axis=1)

    program = asm.assemble(TEXT, cfg)
    memory = np.zeros(0x2000, np.uint8)
    for address, data in (
        (PROGRAM, isa.encode_program(program, cfg)),
        (UOPS, isa.encode_uops([isa.Uop(overwrite=True)], cfg)),
        (PARAMS, entry),
        (WEIGHTS, w),
        (INPUTS, x),
    ):
        raw = data.reshape(-1).view(np.uint8)
        memory[address : address + raw.size] = raw

    timed = memory.copy()
    sim.functional.run(memory, PROGRAM, len(program), cfg)
    result = sim.cycle.run(timed, PROGRAM, len(program), cfg)

    outputs = memory[OUTPUTS : OUTPUTS + 16 * ROWS].view(np.int8).reshape(ROWS, 16)
    print("outputs of the first vector:", outputs[0].tolist())
    print("equal to numpy:             ", bool((outputs == reference(x, w, bias, mult, shift)).all()))
    print("both simulators agree:      ", bool((memory == timed).all()))
    print()
    print(f"{'':2}  {'start':>6} {'issue':>6} {'last':>6} {'retire':>6}")
    for i, instr in enumerate(program):
        times = (result.start[i], result.issue[i], result.last[i], result.retire[i])
        print(f"{i:2}  " + " ".join(f"{t:6}" for t in times) + f"  {asm.format_instruction(instr)}")
    print()
    print(f"{result.cycles} cycles, of which", ", ".join(f"{n} {c}" for n, c in result.totals.items() if c))


if __name__ == "__main__":
    main()
