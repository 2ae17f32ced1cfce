"""A matrix product scheduled by hand on VDLA, step by step.

    python examples/matmul_tutorial.py
    python examples/matmul_tutorial.py --picture latency_hiding.png

The computation is written down once and never touched again. Each step adds schedule primitives, prints the loop nest
as it stands, runs it and compares with numpy: on this computer as long as it is plain loops, on the cycle simulator as
soon as its statements are instructions. It ends with latency hiding off and on, side by side.

VDLA in five lines. Three units run at the same time, each through its own list of instructions: *load* brings data from
DRAM into the buffers `inp`, `wgt` and `aux`; *compute* multiplies a vector of 16 int8 numbers by a 16 x 16 tile of
weights every cycle, adding into the 32-bit accumulators `acc`, or does vector arithmetic on them; *store* writes the
buffer `out` back to DRAM. Whoever needs what another unit makes waits for a token. A schedule decides what lies in
which buffer when, and with it how much of the time the multipliers stand still.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass

import click
import numpy as np
from matplotlib.figure import Figure

import vdla
from compiler import te
from compiler.ir import Expr
from vdla import host
from vdla.kernel import Kernel, KernelRun
from vdla.target import intrinsics

CFG = vdla.Config.load("pynq-z1")

# The product out[m, n] = requantise(sum over k of x[m, k] * w[n, k]), sizes in vectors: 1024 x 512 times 512 x 256.
ROWS, COLUMNS, DEPTH = 1024, 256 // CFG.block_out, 512 // CFG.block_in

# Requantisation to 8 bits: one multiplier and shift for all columns, as the machine's parameter word.
MULTIPLIER, SHIFT = 1 << 16, 26


@dataclass(frozen=True)
class Product:
    """The computation: its tensors, and nothing about loops, buffers or instructions."""

    x: te.Tensor
    w: te.Tensor
    params: te.Tensor
    acc: te.Tensor
    scaled: te.Tensor
    out: te.Tensor

    @property
    def args(self) -> list[te.Tensor]:
        """Arguments of the kernel, in order."""
        return [self.x, self.w, self.params, self.out]


def product(rows: int = ROWS, columns: int = COLUMNS) -> Product:
    """Declare the matrix product on packed tensors.

    x is int8[rows, depth, 1, 16] and w int8[columns, depth, 16, 16]: what one instruction works on, a vector of x or a
    tile of w, lies in one piece, so that the load unit reads long runs and every vector starts at a buffer's row.
    """
    b, bi, bo = CFG.batch, CFG.block_in, CFG.block_out
    x = te.placeholder((rows, DEPTH, b, bi), "int8", "x")
    w = te.placeholder((columns, DEPTH, bo, bi), "int8", "w")
    params = te.placeholder((1, bo, 2), "int32", "params")
    ko, ki = te.reduce_axis(DEPTH, "ko"), te.reduce_axis(bi, "ki")

    def dot(m: Expr, n: Expr, i: Expr, j: Expr) -> Expr:
        return te.sum(x[m, ko, i, ki].astype("int32") * w[n, ko, j, ki].astype("int32"), axis=[ko, ki])

    def scale(m: Expr, n: Expr, i: Expr, j: Expr) -> Expr:
        bias, word = params[0, j, 0], params[0, j, 1]
        return intrinsics.requantize_expr(acc[m, n, i, j], bias, word, 0, -128, 127, "int8")

    acc = te.compute((rows, columns, b, bo), dot, "acc")
    scaled = te.compute(acc.shape, scale, "scaled")
    out = te.compute(acc.shape, lambda *i: scaled[i], "out")  # the copy back to DRAM
    return Product(x, w, params, acc, scaled, out)


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seeded x, w and params."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (ROWS, DEPTH, CFG.batch, CFG.block_in)).astype(np.int8)
    w = rng.integers(-128, 128, (COLUMNS, DEPTH, CFG.block_out, CFG.block_in)).astype(np.int8)
    params = np.zeros((1, CFG.block_out, 2), np.int32)
    params[..., 1] = MULTIPLIER | SHIFT << 18
    return x, w, params


def reference(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The product by numpy, int8[rows, columns, 1, 16]."""
    sums = np.einsum("mkbi,nkji->mnbj", x.astype(np.float64), w.astype(np.float64), optimize=True)
    return np.clip(np.rint(sums * MULTIPLIER / 2**SHIFT), -128, 127).astype(np.int8)  # rint: half to even, exact


INPUTS = data()
EXPECTED = reference(INPUTS[0], INPUTS[1])


# ---------------------------------------------------------------------------------------------- the primitives, reused


def buffers(s: te.Schedule, p: Product) -> tuple[te.Tensor, te.Tensor, te.Tensor]:
    """Say which memory each tensor lies in; returns the on-chip copies of x, w and params."""
    x_inp = s.cache_read(p.x, "inp", [p.acc])
    w_wgt = s.cache_read(p.w, "wgt", [p.acc])
    params_aux = s.cache_read(p.params, "aux", [p.scaled])
    s[p.acc].set_scope("acc")
    s[p.scaled].set_scope("out")
    return x_inp, w_wgt, params_aux


@dataclass(frozen=True)
class Tile:
    """What is on the chip at a time: `rows` x `columns` accumulators (in vectors) and `depth` vectors of the sum."""

    rows: int
    columns: int
    depth: int


def tiles(
    s: te.Schedule, p: Product, copies: Sequence[te.Tensor], tile: Tile, threads: int = 1
) -> tuple[te.IterVar, te.IterVar]:
    """Cut the output into tiles and compute everything a tile needs inside the loops over tiles.

    Returns the loop of the copy to DRAM and the loop over the chunks of the sum.
    """
    out, acc = s[p.out], s[p.acc]
    m, n, i, j = p.out.op.axis
    mo, mi = out.split(m, factor=tile.rows)
    no, ni = out.split(n, factor=tile.columns)
    at = no
    if threads > 1:  # neighbouring tiles of rows become virtual threads
        mo, at = out.split(mo, factor=threads)
        out.reorder(mo, no, at, mi, ni, i, j)
        out.bind(at, te.thread_axis("vthread"))
    else:
        out.reorder(mo, no, mi, ni, i, j)
    x_inp, w_wgt, params_aux = copies
    for tensor in (p.scaled, p.acc, params_aux):
        s[tensor].compute_at(out, at)
    m, n, i, j = acc.op.axis
    ko, ki = acc.op.reduce_axis
    chunk, step = acc.split(ko, factor=tile.depth)
    acc.reorder(chunk, step, n, m, i, j, ki)  # rows innermost: see step 5
    s[x_inp].compute_at(acc, chunk)
    s[w_wgt].compute_at(acc, chunk)
    return mi, chunk


def transfers(s: te.Schedule, p: Product, copies: Sequence[te.Tensor], out_loop: te.IterVar) -> None:
    """Hand the copies to the load and store units."""
    for copy in copies:
        s[copy].pragma(s[copy].op.axis[0], "dma_copy")
    s[p.out].pragma(out_loop, "dma_copy")


def instructions(s: te.Schedule, p: Product) -> None:
    """Replace the innermost loops by the machine's operations."""
    s[p.acc].tensorize(s[p.acc].op.axis[2], intrinsics.gemm(CFG))
    s[p.scaled].tensorize(p.scaled.op.axis[2], intrinsics.requantize(CFG, 0, -128, 127, "int8"))


# ---------------------------------------------------------------------------------------------- running and printing


def say(text: str) -> None:
    """Print a paragraph written over several lines of the source."""
    print(textwrap.dedent(text).strip("\n"))


def heading(text: str) -> None:
    print(f"\n{'=' * 100}\n{text}\n{'=' * 100}")


def show(s: te.Schedule, before: str = "") -> str:
    """Print the loop nest as it stands (`s.show()`), new lines marked; returns it for the next step."""
    nest = s.nest()
    known = set(before.splitlines())
    for line in nest.splitlines():
        print(f"{'>' if before and line not in known else ' '} {line}")
    return nest


def on_this_computer(s: te.Schedule, p: Product) -> None:
    """Run a schedule of plain loops through LLVM and compare with numpy."""
    (out,) = host.run(s, p.args, *INPUTS)
    print(f"\nrun on this computer: equal to numpy: {np.array_equal(out, EXPECTED)}")


def on_vdla(s: te.Schedule, p: Product) -> tuple[Kernel, KernelRun]:
    """Compile for VDLA, simulate to the cycle, compare with numpy."""
    kernel = vdla.build(s, p.args, config=CFG, name="product")
    run = kernel.run(*INPUTS)
    equal = np.array_equal(run.outputs[0], EXPECTED)
    print(f"\nrun on VDLA: equal to numpy: {equal}; {run.cycles:,} cycles, utilisation {run.utilization:.1%}")
    return kernel, run


def first_instructions(kernel: Kernel, count: int) -> None:
    """The beginning of the program as assembler text."""
    lines = kernel.disassembly().splitlines()
    print(f"\nthe first {count} of {len(lines)} instructions:")
    print("\n".join(f"    {line}" for line in lines[:count]))


def table(runs: dict[str, KernelRun]) -> None:
    """Cycles, utilisation and where the other cycles went, one line a run."""
    totals = {name: run.trace.totals for name, run in runs.items() if run.trace is not None}
    causes = [c for c in ("wait_load", "requant", "param", "hazard", "switch", "wait_store") if
              any(t[c] for t in totals.values())]  # fmt: skip
    width = max(map(len, runs))
    print(
        f"{'':{width}}  {'cycles':>9}  {'utilisation':>11}  {'DRAM read':>10}  " + "  ".join(f"{c:>9}" for c in causes)
    )
    for name, run in runs.items():
        read = run.trace.dram_read_bytes if run.trace is not None else 0
        shares = "  ".join(f"{totals[name][c] / run.cycles:>9.1%}" for c in causes)
        print(f"{name:{width}}  {run.cycles:>9,}  {run.utilization:>11.1%}  {read / 1e6:>7.2f} MB  {shares}")


# ---------------------------------------------------------------------------------------------- the steps


def step_1_default() -> str:
    heading("Step 1. The default: one loop an axis, every tensor computed as a whole, all of it in DRAM")
    p = product()
    s = te.create_schedule(p.out)
    nest = show(s)
    on_this_computer(s, p)
    print("This is the meaning of the computation; every step below computes exactly the same numbers.")
    return nest


def step_2_buffers(before: str) -> str:
    heading("Step 2. Memory scopes: cache_read and set_scope say which buffer a tensor lies in")
    p = product()
    s = te.create_schedule(p.out)
    buffers(s, p)
    nest = show(s, before)
    on_this_computer(s, p)
    say(f"""
        The scopes are VDLA's buffers. None of this fits: inp holds {CFG.inp_depth} vectors, wgt {CFG.wgt_depth} tiles,
        acc and out {CFG.out_depth} vectors; x_inp above has {ROWS * DEPTH:,}.
    """)
    return nest


def step_3_tiles(tile: Tile, before: str) -> str:
    heading(f"Step 3. Tiles: {tile.rows} x {tile.columns} accumulators at a time, the sum in chunks of {tile.depth}")
    p = product()
    s = te.create_schedule(p.out)
    tiles(s, p, buffers(s, p), tile)
    nest = show(s, before)
    on_this_computer(s, p)
    say("""
        split and reorder cut the loops, compute_at moves each producer inside, and lowering finds out how much of it
        is needed there. The accumulators stay in place while x and w stream past, chunk by chunk.
    """)
    return nest


def step_4_transfers(tile: Tile, before: str) -> str:
    heading("Step 4. The pragma dma_copy: copies are not loops but transfers of the load and store units")
    p = product()
    s = te.create_schedule(p.out)
    copies = buffers(s, p)
    out_loop, _ = tiles(s, p, copies, tile)
    transfers(s, p, copies, out_loop)
    nest = show(s, before)
    on_this_computer(s, p)
    say("""
        The marked nests become strided LOAD and STORE instructions. Padding and layout changes written as index
        arithmetic in such a copy cost nothing either: they turn into strides and fills.
    """)
    return nest


def step_5_instructions(tile: Tile, before: str) -> KernelRun:
    heading("Step 5. tensorize: the innermost loops are the machine's operations")
    p = product()
    s = te.create_schedule(p.out)
    copies = buffers(s, p)
    out_loop, _ = tiles(s, p, copies, tile)
    transfers(s, p, copies, out_loop)
    instructions(s, p)
    show(s, before)
    kernel, run = on_vdla(s, p)
    first_instructions(kernel, 14)
    print()
    say("""
        How a nest becomes an instruction. GEMM has two loops of its own (out= and, inside it, in=) and around them a
        list of micro-ops (uop=first+count), each with three addresses and an overwrite bit. The two innermost
        data-parallel loops of the nest become the instruction's loops (n and m above), the others are unrolled into
        micro-ops (the four of ko_inner). What makes a good schedule follows from that:

          * many accumulators innermost. One that was written can be read again only 4 cycles later, so operations
            that follow each other must work on different ones: here the rows. A tile of one accumulator would wait
            3 cycles of 4, as the end of this tutorial shows.
          * no loop that clears. The last argument of vdla.gemm is true in the first step of the sum; it becomes the
            micro-ops' overwrite bit, and such an operation stores instead of adding.
          * tiles of one shape. Addresses in micro-ops are relative to the tile, so that one kernel of them, loaded
            once, serves all tiles.

        Tokens (pop=, push=) are not yours to write: they are derived from which instruction uses what another one
        made, and the finished program is proved to be free of deadlocks and races.
    """)
    return run


def schedule(
    tile: Tile, threads: int = 1, alternate: bool = False, p: Product | None = None
) -> tuple[te.Schedule, Product]:
    """The whole recipe of steps 1 to 5, for any tile; the steps below vary its arguments."""
    p = p or product()
    s = te.create_schedule(p.out)
    copies = buffers(s, p)
    out_loop, _ = tiles(s, p, copies, tile, threads)
    if alternate:
        weights = copies[1]
        s[weights].pragma(s[weights].op.axis[0], "dma_alternate")
    transfers(s, p, copies, out_loop)
    instructions(s, p)
    return s, p


def step_6_reuse(small: Tile, large: Tile) -> KernelRun:
    heading(f"Step 6. Larger tiles: {large.rows} x {large.columns} accumulators, chunks of {large.depth}")

    def balance(tile: Tile) -> str:
        products = tile.rows * tile.columns * tile.depth
        moved = tile.rows * tile.depth * CFG.inp_vector_bytes + tile.columns * tile.depth * CFG.wgt_vector_bytes
        return f"{products:>5,} cycles of products for {moved // CFG.bus_bytes:>5,} cycles of loads"

    print("A chunk brings rows x depth vectors and columns x depth tiles for rows x columns x depth products.")
    for tile in (small, large):
        print(f"    {tile}: {balance(tile)}")
    print("The small tile asks more of the memory port than of the multipliers; the large one has work to spare.")
    s, p = schedule(large)
    return on_vdla(s, p)[1]


def step_7_virtual_threads(tile: Tile) -> KernelRun:
    heading("Step 7. Virtual threads: the loads of one tile under the products of another")
    say("""
        Still every chunk is loaded, then used: the multipliers wait for the load, the load waits until its buffer is
        free. Bound to virtual threads, two tiles of rows are at work at a time, each with its own accumulators and x:
    """)
    print()
    s, p = schedule(tile, threads=2)
    show(s)
    print()
    print("It reads like a data-parallel program. Lowering interleaves the threads into one instruction stream:")
    kernel, run = on_vdla(s, p)
    first_instructions(kernel, 14)
    print()
    say("""
        The second thread's x (sram=16384) loads while the first one multiplies. The weights do not depend on the
        thread: one copy of them serves both.
    """)
    return run


def step_8_alternate(tile: Tile) -> KernelRun:
    heading("Step 8. Fewer exposed loads: the shared weights alternate between two places")
    say("""
        The shared weights can be replaced only when both threads have used them, and then both wait for the next ones.
        The pragma dma_alternate gives them two places in turn; chunks of half the depth make room for that.
    """)
    s, p = schedule(tile, threads=2, alternate=True)
    return on_vdla(s, p)[1]


def few_accumulators() -> None:
    heading("A tile of few accumulators")
    say("""
        A smaller product (64 rows, one column of vectors), tiles of 1, 2, 4 and 8 rows: cycles in which the multipliers
        waited for an accumulator, for each operation.
    """)
    print()
    x, w, params = INPUTS
    for rows in (1, 2, 4, 8):
        s, p = schedule(Tile(rows, 1, DEPTH), p=product(rows=64, columns=1))
        run = vdla.build(s, p.args, config=CFG).run(x[:64], w[:1], params)
        assert run.trace is not None
        totals = run.trace.totals
        print(f"    {rows} {'row ' if rows == 1 else 'rows'}: {totals['hazard'] / totals['gemm']:.2f}")


def picture(path: str, runs: dict[str, KernelRun], cycles: int) -> None:
    """Draw what the three units do in the first `cycles` cycles of each run."""
    figure = Figure(figsize=(10, 1.5 * len(runs)), layout="constrained")
    colours = {"load": "tab:blue", "compute": "tab:orange", "store": "tab:green"}
    for axes, (name, run) in zip(figure.subplots(len(runs), sharex=True), runs.items(), strict=True):
        assert run.trace is not None
        spans = [span for span in run.trace.timeline() if span.start < cycles]
        for row, (unit, colour) in enumerate(colours.items()):
            bars = [(span.start, span.end + 1 - span.start) for span in spans if span.unit == unit]
            axes.broken_barh(bars, (row - 0.4, 0.8), facecolors=colour, edgecolors="white", linewidth=0.3)
        axes.set_yticks(range(len(colours)), list(colours))
        axes.invert_yaxis()
        axes.set_xlim(0, cycles)
        axes.set_title(f"{name}: utilisation {run.utilization:.1%} of the whole run", fontsize=9, loc="left")
    axes.set_xlabel("cycle")
    figure.savefig(path, dpi=110)


@click.command()
@click.option("--picture", "path", help="Draw the three units' work, latency hiding off and on, to this PNG file.")
def main(path: str | None) -> None:
    """Schedule a matrix product step by step; print each step's loop nest and what it brings."""
    started = time.perf_counter()
    small, large = Tile(32, 4, 4), Tile(128, 8, 8)
    say(f"""
        x int8[{ROWS}, {DEPTH * CFG.block_in}] times w int8[{DEPTH * CFG.block_in}, {COLUMNS * CFG.block_out}]:
        {ROWS * COLUMNS * DEPTH:,} operations of {CFG.block_in} x {CFG.block_out} multipliers, one a cycle at best.
        In each step's loop nest, > marks the lines that are new.
    """)
    nest = step_1_default()
    nest = step_2_buffers(nest)
    nest = step_3_tiles(small, nest)
    nest = step_4_transfers(small, nest)
    runs = {"small tiles (step 5)": step_5_instructions(small, nest)}
    runs["large tiles (step 6)"] = step_6_reuse(small, large)
    runs["+ virtual threads (step 7)"] = step_7_virtual_threads(large)
    runs["+ alternating weights (step 8)"] = step_8_alternate(Tile(large.rows, large.columns, large.depth // 2))
    few_accumulators()
    heading("Latency hiding off and on")
    # Two virtual threads hold twice the accumulators: the fair rival is one thread with tiles of that size.
    s, p = schedule(Tile(2 * large.rows, large.columns, large.depth))
    runs = {**runs, "one thread, all buffers full": vdla.build(s, p.args, config=CFG).run(*INPUTS)}
    off, on = runs["large tiles (step 6)"], runs["+ virtual threads (step 7)"]
    print(f"off: {off.cycles:,} cycles, utilisation {off.utilization:.1%}   on: {on.cycles:,} cycles, ", end="")
    print(f"utilisation {on.utilization:.1%}   {off.cycles / on.cycles:.2f} times as fast\n")
    table(runs)
    if path:
        picture(path, {name: runs[name] for name in list(runs)[1:4]}, cycles=60_000)
    print()
    say(f"""
        utilisation: cycles in which the multipliers worked. The other columns: why they did not (causes add up to all
        cycles; docs/timing.md defines them). The last line is what one thread can do with the buffers of two.

        Everything above took {time.perf_counter() - started:.1f} s.
    """)


if __name__ == "__main__":
    main()
