"""The ``vdla`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from compiler.errors import CompileError
from hw.errors import VdlaError
from runtime.version import KIT_VERSION
from vdla.cli.compile import compile_command
from vdla.cli.config import config_group
from vdla.cli.explore import explore_command
from vdla.cli.inspect import inspect_command
from vdla.cli.pool import device_command, pool_group
from vdla.cli.profile import profile_command
from vdla.cli.report import report_command
from vdla.cli.run import run_command
from vdla.cli.synth import synth_command
from vdla.cli.tune import tune_command

USER_ERROR = 2
"""Exit code of every mistake of the user; 0 is success, 1 a defect of the kit."""

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(KIT_VERSION, prog_name="vdla")
def cli() -> None:
    """Compile networks for the VDLA accelerator, simulate them to the cycle, change the machine and look again."""


COMMANDS = (
    run_command,
    compile_command,
    tune_command,
    pool_group,
    device_command,
    explore_command,
    inspect_command,
    config_group,
    synth_command,
    profile_command,
    report_command,
)

for _command in COMMANDS:
    cli.add_command(_command)


def run_cli(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line `arguments` (by default the process's own) and returns the exit code.

    A mistake of the user is one line on stderr, ``error: ...``, and exit code 2.
    """
    try:
        result = cli.main(args=None if arguments is None else list(arguments), prog_name="vdla", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return USER_ERROR
    except click.ClickException as error:
        return _fail(error.format_message())
    except (VdlaError, CompileError) as error:
        return _fail(str(error))
    except click.Abort:
        click.echo("error: interrupted", err=True)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _fail(message: str) -> int:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return USER_ERROR


def main() -> None:
    """Entry point of the console script."""
    try:
        code = run_cli()
        sys.stdout.flush()
    except BrokenPipeError:
        # `vdla ... | head`: the reader has left. Nothing more may be written, not even by the interpreter at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
