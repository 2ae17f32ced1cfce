"""A device on a board that has Python, Dask and the kit's sources, but not the compiler's packages.

``python -m compiler.tune.pool tls://HOST:PORT KIND --kit VERSION --keys DIR``: what ``vdla device`` does.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from compiler.tune.pool.device import serve
from compiler.tune.pool.errors import PoolError
from compiler.tune.pool.keys import default_folder, load_keys
from compiler.tune.pool.machine import Machine, processor


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m compiler.tune.pool", description="A device of a pool.")
    parser.add_argument("scheduler", help="the scheduler's address, tls://HOST:PORT")
    parser.add_argument("kind", help="what this device is, e.g. vdla-pynq-z1, cpu or arm64")
    parser.add_argument("--kit", required=True, help="version of the kit (`vdla --version` of the tuners)")
    parser.add_argument("--keys", type=Path, default=default_folder(), help="folder with the pool's keys")
    parser.add_argument("--name", help="unique name in the pool")
    parser.add_argument("--processor", default=processor(), help="its processor's name; default: %(default)s")
    parser.add_argument(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="that a kernel may use; default: %(default)s",
    )
    given = parser.parse_args()
    machine = Machine(given.processor, given.threads)
    try:
        keys = load_keys(given.keys)
        serve(given.scheduler, given.kind, given.kit, keys, lambda text: print(text, flush=True), machine, given.name)
    except PoolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
