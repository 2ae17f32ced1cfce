"""All proofs, each for several sizes."""

from __future__ import annotations

from collections.abc import Callable

from hw.formal.arbiter import read_arbiter
from hw.formal.bench import Bench
from hw.formal.commands import commands
from hw.formal.fetching import fetch_fifo
from hw.formal.queues import command_queue, in_flight, token_counter
from hw.formal.starting import program_start
from hw.formal.transfers import compute_stages, load_jobs, store_ends

PROOFS: dict[str, tuple[Callable[..., Bench], tuple[tuple[int, ...], ...]]] = {
    "command queue": (command_queue, ((2,), (5,), (8,), (32,))),
    "token counter": (token_counter, ((1,), (2,), (3,), (63,))),
    "instructions in flight": (in_flight, ((1,), (2,), (10,))),
    "tokens of the machine": (commands, ((2, 1), (3, 2), (32, 63))),
    "read arbiter": (read_arbiter, ((0, 1), (3, 2), (7, 8), (63, 64))),
    "fetch FIFO": (fetch_fifo, ((512,), (256,), (128,), (64,), (32,), (64, 512))),
    "program start": (program_start, ((64,), (512,))),
    "loads before their walk": (load_jobs, ((32,), (64,), (128,))),
    "compute stages": (compute_stages, ((1,), (2,), (8,))),
    "stores before their response": (store_ends, ((32, 2), (64, 8), (128, 64))),
}
"""What makes the benches of a block, and the sizes that they are made for; the first two sizes are the quick ones."""


def benches(*, quick: bool = False, only: str = "") -> list[Bench]:
    """All benches, or with `quick` two sizes of each; those of blocks whose name holds `only`."""
    chosen = [proof for name, proof in PROOFS.items() if only in name]
    return [make(*size) for make, sizes in chosen for size in (sizes[:2] if quick else sizes)]
