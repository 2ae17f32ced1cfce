"""``vdla tune``: better tiles for an operator or a network, found by measuring, kept in a database."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from compiler.backend.cpu.platforms import platform_of
from compiler.tune.database import Database
from compiler.tune.measure import Measurer
from hw.config import Config
from vdla.calibration import load_calibration
from vdla.cli.common import (
    config_options,
    json_option,
    machine,
    print_json,
    progress_bar,
    quantisation_options,
    report_option,
    stdout,
)
from vdla.cli.pool import keys_option, pool_keys
from vdla.errors import UsageError
from vdla.models.layers import is_layer, layer_model
from vdla.report import ReportFolder, print_line
from vdla.resolve import is_artifact
from vdla.tune import accelerator, cpu, remote
from vdla.tune.cpu import CpuGroup, Place
from vdla.tune.operators import HELP, is_operator, parse_operator
from vdla.tune.report import DOCUMENT, NetworkChoice, document, render_files
from vdla.tune.session import SEARCHES, OperatorState, Session, TuneOptions

if TYPE_CHECKING:
    from distributed.security import Security


@click.command("tune")
@click.argument("what", metavar="MODEL_OR_OPERATOR")
@config_options
@click.option(
    "--target",
    default="vdla",
    show_default=True,
    help="vdla, the accelerator, measured by the cycle simulator; cpu, this machine's processor; or arm64 or armv7, "
    "perhaps with a processor (arm64:cortex-a72), measured on a pool's devices.",
)
@click.option("--trials", default=64, show_default=True, type=click.IntRange(min=1), help="Schedules of each operator.")
@click.option(
    "--db",
    "database_path",
    type=click.Path(path_type=Path),
    default=Path("tuning.jsonl"),
    show_default=True,
    metavar="FILE",
    help="The tuning database. What it holds already is not measured again, unless the compiler or the simulator has "
    "changed since; then what was best is tried first.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of every random choice.")
@click.option("--search", type=click.Choice(SEARCHES), default="auto", show_default=True, help="How to search.")
@click.option(
    "--transfer/--no-transfer",
    default=True,
    show_default=True,
    help="Start the learned search from what the database says about other operators and machines.",
)
@click.option("--seconds", type=click.FloatRange(min=0), metavar="S", help="Begin nothing new after so many seconds.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1), help="Measuring processes.")
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Seconds that measuring one schedule may take.",
)
@click.option("--pool", "pool_address", metavar="tls://HOST:PORT", help="Measure on a pool's devices (vdla pool).")
@click.option("--kind", metavar="KIND", help="Of the pool's devices. Default: vdla-MACHINE, or the --target's.")
@click.option("--emulate", is_flag=True, help="For arm64 and armv7: QEMU counts instructions. They are no times.")
@keys_option
@quantisation_options
@report_option("tune.json and a picture of the curves")
@json_option
def tune_command(
    what: str,
    config_name: str | None,
    settings: tuple[str, ...],
    target: str,
    trials: int,
    database_path: Path,
    seed: int,
    search: str,
    transfer: bool,
    seconds: float | None,
    workers: int,
    timeout: float,
    pool_address: str | None,
    kind: str | None,
    emulate: bool,
    keys_path: Path | None,
    integer: bool,
    calibration_path: Path | None,
    report_path: Path | None,
    as_json: bool,
) -> None:
    """Find better schedules for MODEL_OR_OPERATOR on the simulated accelerator or, with --target, on a processor.

    It is an ONNX file, a built-in network, a convolution of the TVM paper (C1 to C12; for processors also MobileNet's
    depthwise ones, D1 to D9), or, for the accelerator, an operator with its sizes, such as
    conv2d:ic=64,h=56,w=56,oc=64,k=3,stride=1,pad=1. `vdla compile --db FILE` and `vdla run --db FILE` use what was
    found. The default schedule is among those measured: the result is never slower.
    """
    database = Database(database_path)
    options = TuneOptions(trials, seed, search, math.inf if seconds is None else seconds, transfer=transfer)
    with ExitStack() as stack:
        folder = None if report_path is None else stack.enter_context(ReportFolder(report_path, DOCUMENT))
        if target != "vdla":
            if config_name is not None or settings:
                raise UsageError(f"--target {target} tunes for a processor: --config and --set are the accelerator's")
            keys = _keys_for(target, pool_address, keys_path, emulate)
            groups = _groups(what, target, integer, calibration_path)
            if emulate:
                room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vdla-emulate-")))
                place, emulator = remote.emulator_place(target, room, workers, timeout)
                stack.enter_context(emulator)
            elif pool_address is None or keys is None:
                place = cpu.Place.here(stack.enter_context(cpu.process_measurer(workers, timeout)))
            else:
                with progress_bar("look for devices"):
                    place, pool = remote.pool_place(target, pool_address, kind, keys, timeout)
                stack.enter_context(pool)
            session, chosen = _tune_cpu(groups, database, options, place)
        else:
            if emulate or integer or calibration_path is not None:
                raise UsageError("--emulate, --int8 and --calibration are for processors: --target arm64")
            config = machine(config_name, settings)
            if pool_address is None:
                measurer: Measurer = stack.enter_context(accelerator.process_measurer(config, workers, timeout))
            else:
                keys = pool_keys(keys_path)
                measurer = stack.enter_context(accelerator.pool_measurer(config, pool_address, kind, keys, timeout))
            session, chosen = _tune_accelerator(what, config, database, options, measurer)
        if folder is not None:
            folder.write_files(render_files(what, session, chosen))
    if as_json:
        print_json(document(what, session, chosen))
    else:
        _show(session, chosen)


def _tune_accelerator(
    what: str, config: Config, database: Database, options: TuneOptions, measurer: Measurer
) -> tuple[Session, NetworkChoice | None]:
    network = _network(what, config)
    if network is None:
        operators = [parse_operator(what, config)]
    else:
        with progress_bar("find the operators"):
            operators = network.operators()
    session = accelerator.accelerator_session(config, operators, database, measurer, options)
    _run(session)
    if network is None:
        return session, None
    with progress_bar("try in the network") as progress:
        found = accelerator.choose_in_network(
            network, session, lambda text, best: progress(f"{best:,} cycles; {text}", 0, 1)
        )
    return session, NetworkChoice(found.default, found.best, tuple(found.tiles))


def _keys_for(target: str, pool_address: str | None, keys_path: Path | None, emulate: bool) -> Security | None:
    """The keys of the pool, if there is one.  Raises TargetError for an unknown processor, UsageError for another one
    than this machine's without a pool."""
    foreign = platform_of(target).triple is not None
    if pool_address is not None:
        if emulate:
            raise UsageError("--pool and --emulate exclude each other")
        return pool_keys(keys_path)
    if foreign and not emulate:
        raise UsageError(
            f"--target {target} is measured on such a device: start a pool with `vdla pool start`, register the device "
            f"there with `vdla device --scheduler tls://HOST:PORT --kind {target.partition(':')[0]}`, and say "
            "--pool tls://HOST:PORT; without one, --emulate counts instructions"
        )
    return None


def _groups(what: str, target: str, integer: bool, calibration: Path | None) -> list[CpuGroup]:
    with progress_bar("find the operators"):
        model = layer_model(what) if is_layer(what) and not Path(what).is_file() else what
        samples = None if calibration is None else load_calibration(calibration, what)
        return cpu.groups_of(model, target, integer=integer, calibration=samples)


def _tune_cpu(
    groups: Sequence[CpuGroup], database: Database, options: TuneOptions, place: Place
) -> tuple[Session, NetworkChoice | None]:
    session = cpu.cpu_session(groups, database, place, options)
    _run(session)
    with progress_bar("measure the best again") as progress:
        return session, cpu.confirm(session, place.measurer, lambda text: progress(text, 0, 1))


def _run(session: Session) -> None:
    """Tune, with a table of what was found so far where there is a terminal."""
    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for _ in session.run():
            if console.is_terminal:
                live.update(_table(session), refresh=True)


def _network(what: str, config: Config) -> accelerator.Network | None:
    """The model that is to be tuned, or None when it is an operator."""
    path = Path(what)
    if is_artifact(path):
        raise UsageError(f"{what} is compiled already; give the ONNX file it was made from")
    if path.is_file() or not is_operator(what):
        if ":" in what and not path.is_file():
            raise UsageError(f"no operator and no file '{what}'; an operator is written like {HELP}")
        return accelerator.Network(what, config)
    return None


# ------------------------------------------------------------------------------------------------ what is shown


def _table(session: Session) -> Table:
    """Every operator: best so far against the default, and how much of it the multipliers are busy (its roofline)."""
    left = session.seconds_left
    title = f"{session.seconds:.0f} s" + (f", at most {left:.0f} s left" if left else "")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("operator", overflow="fold")
    for column in ("space", "trials", "new", "failed", "default", "best", "gain", "utilisation"):
        table.add_column(column, justify="right")
    for state in session.states:
        table.add_row(*_cells(state, session.unit))
    return table


def _cells(state: OperatorState, unit: str) -> list[str]:
    found = state.outcome
    if found.best is None:
        return [state.operator.name, f"{len(state.space):,}", str(found.trials), "", str(found.failed), "", "", "", ""]
    default = cost_text(found.default_cost, unit) if math.isfinite(found.default_cost) else "failed"
    share = f"{100 * state.floor / found.best_cost:.1f} %" if state.floor else ""
    return [
        state.operator.name,
        f"{len(state.space):,}",
        str(found.trials),
        str(found.measured),
        str(found.failed),
        default,
        cost_text(found.best_cost, unit),
        f"{found.gain:.3f}x",
        share,
    ]


def _show(session: Session, chosen: NetworkChoice | None) -> None:
    console = stdout()
    console.print(_table(session))
    if len(session.states) == 1 and session.states[0].outcome.best is not None:
        state = session.states[0]
        assert state.outcome.best is not None
        print_line(console, f"best: {_knobs_text(state.space.values(state.outcome.best))}")
        removed = {rule: count for rule, count in state.space.removed().items() if count}
        for rule, count in removed.items():
            print_line(console, f"{count:,} of {state.space.size:,} points excluded by the rule: {rule}")
    sources = [state.prior.source for state in session.states if state.prior is not None]
    if sources:
        most = max(sources, key=lambda source: source.records)
        print_line(
            console,
            f"{len(sources)} of {len(session.states)} searches started from the database's records of other operators "
            f"and machines ({most.records:,} of {most.workloads}; --no-transfer: from nothing)",
        )
    if chosen is not None:
        gain = chosen.default / chosen.best
        default, best = (cost_text(cost, session.unit) for cost in (chosen.default, chosen.best))
        print_line(
            console,
            f"network: {default} {session.unit} by default, {best} tuned ({gain:.3f}x), "
            f"{len(chosen.changed)} of {len(session.states)} operators changed",
        )
    outdated = session.outdated
    others = f"; of another version: {outdated:,}, the best of them were tried first" if outdated else ""
    print_line(console, f"records in {session.database.path}, of version {session.version}{others}")


def cost_text(cost: float, unit: str) -> str:
    """A cost for people: cycles and instructions are whole numbers, seconds are not."""
    return f"{cost:.3g}" if unit == "seconds" else f"{cost:,.0f}"


def _knobs_text(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
