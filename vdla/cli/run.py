"""``vdla run``: compile if need be, simulate, show where the cycles went."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from hw.config import Config
from runtime.artifact import Artifact
from runtime.board import connect
from runtime.device import LayerWave
from runtime.executor import SimName
from vdla.api import simulate
from vdla.cli.common import (
    compile_on_machine,
    compile_options,
    config_options,
    database_option,
    json_option,
    override,
    print_json,
    progress_bar,
    quantisation_options,
    report_option,
    stdout,
    tuning_text,
)
from vdla.errors import UsageError
from vdla.report import Report, ReportFolder, print_line, print_report
from vdla.resolve import check_output_path, is_artifact, load_inputs, random_inputs, save_outputs


@click.command("run")
@click.argument("model")
@config_options
@click.option(
    "--sim",
    type=click.Choice(["functional", "cycle", "rtl", "gates"]),
    default="cycle",
    show_default=True,
    help="functional: the bits only. cycle: the bits and the time of every instruction. rtl: the same on the Verilated "
    "hardware (needs Verilator and a C++ compiler). gates: on the netlist of its synthesis (needs Yosys, too).",
)
@click.option(
    "--on",
    "where",
    metavar="BOARD",
    help="Run on a board instead of a simulator: pynq (this computer's), uart:/dev/ttyUSB0, or rtl (a simulated one).",
)
@click.option(
    "--bitstream", type=click.Path(path_type=Path), metavar="X.bit", help="With --on pynq: what to load first."
)
@click.option("--wave", metavar="LAYER", help="With --sim rtl: write the waveform of this layer.")
@click.option(
    "--wave-file",
    "wave_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="X.vcd|X.fst",
    help="Where to write it: as text, or compressed. Default: LAYER.vcd.",
)
@click.option(
    "--input",
    "input_path",
    type=click.Path(path_type=Path),
    metavar="X.npy|X.npz",
    help="Inputs; a .npz holds one array for each input's name. Default: seeded random values.",
)
@click.option(
    "--output", "output_path", type=click.Path(path_type=Path), metavar="Y.npz", help="Save the outputs here."
)
@report_option("report.json, pictures, a Chrome trace and index.html")
@compile_options
@quantisation_options
@database_option
@json_option
def run_command(
    model: str,
    config_name: str | None,
    settings: tuple[str, ...],
    sim: SimName,
    where: str | None,
    bitstream: Path | None,
    wave: str | None,
    wave_path: Path | None,
    input_path: Path | None,
    output_path: Path | None,
    report_path: Path | None,
    target: str | None,
    batch: int | None,
    no_virtual_threads: bool,
    integer: bool,
    calibration_path: Path | None,
    database_path: Path | None,
    as_json: bool,
) -> None:
    """Run MODEL on the simulated accelerator, or on a board.

    MODEL is an ONNX file, a built-in network (e.g. resnet18) or a compiled artifact (model.vdla).
    """
    layer_wave = _wave_of(wave, wave_path)
    with ExitStack() as stack:
        # An unwritable place must not be found out after the long work.
        folder = stack.enter_context(ReportFolder(report_path)) if report_path is not None else None
        if output_path is not None:
            check_output_path(output_path)
        artifact, config = _obtain(
            model, config_name, settings, target, batch, no_virtual_threads, integer, calibration_path, database_path
        )
        if input_path is not None:
            inputs = load_inputs(input_path, artifact.inputs)
        else:
            inputs = random_inputs(artifact.inputs)
        board = None
        if where is not None:
            board = stack.enter_context(connect(where, bitstream=bitstream, config=config if where == "rtl" else None))
        elif bitstream is not None:
            raise UsageError("--bitstream goes with --on pynq")
        with progress_bar("simulate" if board is None else "run") as progress:
            report = simulate(artifact, inputs, sim=sim, config=config, progress=progress, wave=layer_wave, board=board)
        if output_path is not None:
            save_outputs(output_path, report.outputs)
        if folder is not None:
            with progress_bar("report"):
                folder.write(report)
    if as_json:
        print_json(report.document)
    else:
        _show(report, folder)
        tuned = tuning_text(artifact.info.get("tuning"))
        if tuned is not None:
            print_line(stdout(), tuned)


def _wave_of(layer: str | None, path: Path | None) -> LayerWave | None:
    if layer is None:
        if path is not None:
            raise UsageError(f"--wave-file {path} needs --wave LAYER: the waveform of which layer?")
        return None
    path = path or Path(f"{layer.replace('/', '_')}.vcd")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: {path.parent} is not a folder")
    return LayerWave(layer, path)


def _obtain(
    model: str,
    config_name: str | None,
    settings: tuple[str, ...],
    target: str | None,
    batch: int | None,
    no_virtual_threads: bool,
    integer: bool,
    calibration_path: Path | None,
    database_path: Path | None,
) -> tuple[Artifact, Config]:
    """The compiled model and the machine to run it on."""
    if is_artifact(Path(model)):
        given = (target, batch, calibration_path, database_path)
        if no_virtual_threads or integer or any(option is not None for option in given):
            raise UsageError(
                f"{model} is compiled already; --target, --batch, --no-virtual-threads, --int8, --calibration and --db "
                "go to `vdla compile`"
            )
        artifact = Artifact.load(model)
        base = Config.load(config_name) if config_name is not None else artifact.config
        return artifact, override(base, settings)
    return compile_on_machine(
        model,
        config_name,
        settings,
        target=target,
        batch=batch,
        no_virtual_threads=no_virtual_threads,
        integer=integer,
        calibration_path=calibration_path,
        database_path=database_path,
    )


def _show(report: Report, folder: ReportFolder | None) -> None:
    console = stdout()
    document = report.document
    print_report(document, console)
    for name, output in document["outputs"].items():
        shape = ",".join(map(str, output["shape"]))
        print_line(console, f"output {name}: {output['dtype']}[{shape}], SHA-256 {output['sha256'][:16]}")
    if folder is not None:
        print_line(console, f"report: {folder.path / 'index.html'}")
