"""``vdla pool`` and ``vdla device``: devices that several tuners share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.table import Table

from runtime.thread_pool import MOST_THREADS, default_threads
from runtime.version import KIT_VERSION
from vdla.cli.common import json_option, print_json, stdout
from vdla.errors import UsageError

if TYPE_CHECKING:
    from distributed.security import Security

Command = TypeVar("Command", bound=Callable[..., Any])


def keys_option(command: Command) -> Command:
    """Adds ``--keys``."""
    return click.option(
        "--keys",
        "keys_path",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The folder with the pool's keys. Default: vdla/pool in your configuration folder.",
    )(command)


def pool_keys(folder: Path | None) -> Security:
    """The keys that ``--keys`` names.  Raises PoolError when there are none, UsageError without Dask."""
    try:
        from compiler.tune.pool import default_folder, load_keys
    except ImportError as error:
        raise UsageError(f"a pool of devices needs {error.name}: pip install 'vdla[pool]'") from error
    return load_keys(folder or default_folder())


@click.group("pool", context_settings={"help_option_names": ["-h", "--help"]})
def pool_group() -> None:
    """Share devices among tuners: make keys, start the scheduler, see who is there.

    A pool is one scheduler (`vdla pool start`), any number of devices (`vdla device`) and tuners
    (`vdla tune --pool`). All of them hold the same keys; connections are encrypted, and who has no keys stays out.
    """


@pool_group.command("keys")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
def keys_command(folder: Path | None) -> None:
    """Make the keys of a new pool in FOLDER (default: your configuration folder).

    Copy the folder to every machine that is to be in the pool, as you would a password.
    """
    try:
        from compiler.tune.pool import create_keys, default_folder
    except ImportError as error:
        raise UsageError(f"a pool of devices needs {error.name}: pip install 'vdla[pool]'") from error
    folder = folder or default_folder()
    create_keys(folder)
    click.echo(f"made keys in {folder}, valid for a year")


@pool_group.command("start")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 is all.")
@click.option("--port", default=8786, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@keys_option
def start_command(host: str, port: int, keys_path: Path | None) -> None:
    """Run the scheduler of a pool until interrupted."""
    keys = pool_keys(keys_path)
    from compiler.tune.pool.scheduler import serve

    serve(host, port, keys, lambda address: click.echo(f"pool at {address}"))


@pool_group.command("status")
@click.argument("address")
@keys_option
@json_option
def status_command(address: str, keys_path: Path | None, as_json: bool) -> None:
    """Show the devices of the pool at ADDRESS (tls://HOST:PORT)."""
    keys = pool_keys(keys_path)
    from compiler.tune.pool.status import members

    found = members(address, keys)
    if as_json:
        print_json([asdict(member) for member in found])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("device", "kind", "processor", "kit", "jobs", "address"):
        table.add_column(column, overflow="fold")
    for member in found:
        table.add_row(member.name, member.kind, str(member.machine), member.version, str(member.jobs), member.address)
    stdout().print(table if found else f"no device in the pool at {address}")


@click.command("device")
@click.option("--scheduler", "address", required=True, metavar="tls://HOST:PORT", help="The pool's scheduler.")
@click.option("--kind", required=True, metavar="KIND", help="What this device is, e.g. vdla-pynq-z1, cpu or arm64.")
@click.option("--name", metavar="NAME", help="Its name in the pool; must be unique. Default: its address.")
@click.option("--processor", metavar="NAME", help="Its processor, e.g. cortex-a53. Default: what Linux says.")
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="That a kernel may use. Default: all processors.")
@keys_option
def device_command(
    address: str, kind: str, name: str | None, processor: str | None, threads: int | None, keys_path: Path | None
) -> None:
    """Make this machine a device of a pool, one job at a time, until interrupted.

    On a board without the compiler's packages, `python -m compiler.tune.pool` does the same.
    """
    if "@" in kind or not kind.strip():
        raise UsageError(f"'{kind}' is not a kind of device; write it like vdla-pynq-z1")
    keys = pool_keys(keys_path)
    from compiler.tune.pool import machine
    from compiler.tune.pool.device import serve

    here = machine.Machine(processor or machine.processor(), threads or default_threads())
    serve(address, kind, KIT_VERSION, keys, lambda text: click.echo(text), here, name)
