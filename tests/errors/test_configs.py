"""Mistakes in a configuration: one line on stderr with the key, the reason and a legal neighbour, and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.errors.conftest import Refused
from vdla.cli import run_cli

FILES = {
    "not text": (b"\xff\xfe\x00\x01", "cannot read this configuration (not a text file)"),
    "not YAML": (b"vdla: {batch: 1\n", "not YAML (line 2)"),
    "empty": (b"", "not a mapping of sections"),
    "a list": (b"- vdla\n", "not a mapping of sections"),
    "a section that is a number": (b"vdla: 3\n", "vdla"),
    "an unknown section": (b"accelerator: {batch: 1}\n", "accelerator"),
    "an unknown key": (b"vdla: {blok_in: 16}\n", "vdla.blok_in: no such parameter; did you mean block_in?"),
    "a word for a number": (b"vdla: {batch: two}\n", "vdla.batch"),
    "a fraction": (b"vdla: {batch: 1.5}\n", "vdla.batch"),
    "a truth value": (b"vdla: {batch: true}\n", "vdla.batch"),
    "nothing for a number": (b"vdla: {batch: }\n", "vdla.batch"),
    "zero": (b"vdla: {inp_buffer: 0}\n", "vdla.inp_buffer"),
    "negative": (b"vdla: {wgt_buffer: -16}\n", "vdla.wgt_buffer"),
    "not a power of two": (b"vdla: {block_out: 12}\n", "vdla.block_out"),
    "a memory that never answers": (b"memory: {read_outstanding: 0}\n", "memory.read_outstanding"),
}

CONTRADICTIONS = {
    "vdla.burst_beats=64": ("vdla.burst_beats", "axi3", "try 16"),
    "vdla.inp_buffer=1000 vdla.batch=4": ("vdla.inp_buffer", "not a multiple of its 16-byte vector", "try 992"),
    "vdla.block_in=64 vdla.block_out=64 vdla.wgt_buffer=4096": ("vdla.wgt_buffer", "is less than", "try 8192"),
    "vdla.aux_buffer=16": ("vdla.aux_buffer", "is less than", "try 32"),
    "vdla.acc_buffer=33554432": ("vdla.acc_buffer", "is more than", "try 16777216"),
    "memory.stall_rate=0.5": ("memory.stall_seed", "needs a seed", "try"),
    "memory.stall_rate=1": ("memory.stall_rate", "is not in [0, 1)", "try"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_configuration(refused: Refused, tmp_path: Path, kind: str) -> None:
    content, part = FILES[kind]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    for command in (["config", "check", str(path)], ["run", "mlp", "--config", str(path)]):
        message = refused(*command)
        assert part in message, message


def test_a_configuration_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    message = refused("run", "mlp", "--config", str(tmp_path / "absent.yaml"))
    assert "absent.yaml" in message and "cannot read this configuration" in message, message
    assert "cannot read this configuration" in refused("run", "mlp", "--config", str(tmp_path))


@pytest.mark.parametrize("settings", CONTRADICTIONS)
def test_parameters_that_contradict_each_other(refused: Refused, settings: str) -> None:
    base = "pynq-z1" if "block" in settings or "acc" in settings else "tiny"
    arguments = [part for setting in settings.split() for part in ("--set", setting)]
    message = refused("run", "mlp", "--config", base, *arguments)
    for part in CONTRADICTIONS[settings]:
        assert part in message, message


def test_a_machine_whose_instructions_do_not_fit_their_word(refused: Refused) -> None:
    message = refused("config", "show", "pynq-z1", "--set", "vdla.instruction_bits=128")
    assert message.startswith("vdla.instruction_bits: ") and "bits, the word has 128" in message, message
    assert "x_size 14" in message and "try 256" in message, message
    assert message == refused("run", "mlp", "--set", "vdla.instruction_bits=128")


def test_a_machine_that_no_layer_fits_says_which_buffer(capsys: pytest.CaptureFixture[str]) -> None:
    """Not a mistake: the CPU does it all, and the table says what each layer would have needed."""
    arguments = ["run", "resnet_tiny", "--config", "tiny", "--set", "vdla.inp_buffer=8", "--json"]
    assert run_cli(arguments) == 0
    assert "bytes of the inp buffer (vdla.inp_buffer is 8)" in capsys.readouterr().out
