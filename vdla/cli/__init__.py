"""The ``vdla`` command."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from compiler.errors import CompileError
from hw.errors import VdlaError
from runtime.version import KIT_VERSION

USER_ERROR = 2
"""Exit code of every mistake of the user; 0 is success, 1 a defect of the kit."""

INTERRUPTED = 130


COMMANDS = {
    "run": "run:run_command",
    "compile": "compile:compile_command",
    "tune": "tune:tune_command",
    "pool": "pool:pool_group",
    "device": "pool:device_command",
    "explore": "explore:explore_command",
    "inspect": "inspect:inspect_command",
    "config": "config:config_group",
    "synth": "synth:synth_command",
    "profile": "profile:profile_command",
    "report": "report:report_command",
}
"""Where each command is: a module of this package, and its name there."""


class _Commands(click.Group):
    """The commands, each imported when it is asked for: together they need half of the kit."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, as in the help."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        return getattr(importlib.import_module(f"vdla.cli.{module}"), name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(KIT_VERSION, prog_name="vdla")
def cli() -> None:
    """Compile networks for the VDLA accelerator, simulate them to the cycle, change the machine and look again."""


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
