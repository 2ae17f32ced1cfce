"""One case a mistake: each is one line on stderr, ``error: what, where, what would be right``, and exit code 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hw.isa import encode_program
from runtime.artifact import Segment
from tests import handmade
from tests.errors.conftest import Refused


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The handmade artifact on disk; its input is int8[3,4]."""
    path = tmp_path / "handmade.vdla"
    handmade.artifact().save(path)
    return str(path)


def test_unknown_model_names_the_nearest(refused: Refused) -> None:
    assert refused("run", "resnet81") == "no file and no built-in model named 'resnet81'; did you mean resnet18?"
    assert "built-in models are resnet18" in refused("run", "zzz")


def test_missing_artifact(refused: Refused, tmp_path: Path) -> None:
    assert refused("run", str(tmp_path / "absent.vdla")).endswith("absent.vdla: no such file")


def test_artifact_for_another_config(refused: Refused, model: str) -> None:
    message = refused("run", model, "--config", "pynq-z1")
    assert "compiled for config 'tiny'" in message and "block_in 4 -> 16" in message
    assert "uop_buffer 1024 -> 2048" in refused("run", model, "--set", "vdla.uop_buffer=2048")


def test_damaged_artifact(refused: Refused, model: str) -> None:
    data = bytearray(Path(model).read_bytes())
    data[-40:] = b"\0" * 40
    Path(model).write_bytes(data)
    assert "is not an artifact" in refused("inspect", model)


def test_token_unbalanced_program_says_who_waits_for_whom(refused: Refused, tmp_path: Path) -> None:
    good = handmade.artifact()
    code = handmade.program(good.config)
    # The matrix product now waits for a second token from load, which nobody sends.
    code[5] = replace(code[5], pop_prev=True)
    segments = (*good.segments[:-1], Segment("program", handmade.PROGRAM, encode_program(code, good.config)))
    replace(good, segments=segments).save(tmp_path / "stuck.vdla")
    message = refused("run", str(tmp_path / "stuck.vdla"))
    assert "compute" in message and "load" in message and "wait" in message, message


def test_illegal_program_names_instruction_and_field(refused: Refused, tmp_path: Path) -> None:
    good = handmade.artifact()
    code = handmade.program(good.config)
    code[2] = replace(code[2], seg=good.config.wgt_buffer + 1)
    segments = (*good.segments[:-1], Segment("program", handmade.PROGRAM, encode_program(code, good.config)))
    replace(good, segments=segments).save(tmp_path / "illegal.vdla")
    for sim in ("functional", "cycle"):
        assert "instruction 2" in refused("run", str(tmp_path / "illegal.vdla"), "--sim", sim)


def test_input_of_the_wrong_shape(refused: Refused, model: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 4), np.int8))
    message = refused("run", model, "--input", str(tmp_path / "x.npy"))
    assert message == "input 'x': expected int8[3,4], got int8[4,4]"


def test_input_of_the_wrong_dtype(refused: Refused, model: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4), np.float32))
    message = refused("run", model, "--input", str(tmp_path / "x.npz"))
    assert message == "input 'x': expected int8[3,4], got float32[3,4]"


def test_input_of_another_name(refused: Refused, model: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros((3, 4), np.int8))
    message = refused("run", model, "--input", str(tmp_path / "x.npz"))
    assert message == "no input named 'image'; the model's inputs are 'x' int8[3,4]"


@pytest.mark.parametrize("content", [b"", b"1 2 3\n", b"\x93NUMPY"])
def test_input_that_is_no_array(refused: Refused, model: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    assert "is not a .npy or .npz file" in refused("run", model, "--input", str(tmp_path / "x.npy"))


def test_input_that_holds_python_objects(refused: Refused, model: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    assert "of plain arrays" in refused("run", model, "--input", str(tmp_path / "x.npy"))


def test_missing_input_file(refused: Refused, model: str, tmp_path: Path) -> None:
    assert "No such file" in refused("run", model, "--input", str(tmp_path / "absent.npy"))


def test_unwritable_report_folder_is_refused_before_the_work(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    # The model does not exist either: the folder is looked at first, since the model takes long.
    message = refused("run", "no-such-model", "--report", str(tmp_path / "file" / "out"))
    assert message.startswith("cannot write a report to")


def test_report_folder_with_other_content(refused: Refused, model: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    assert "holds something other than a report" in refused("run", model, "--report", str(tmp_path / "home"))
    assert (tmp_path / "home" / "thesis.txt").exists()


def test_output_file_of_another_kind(refused: Refused, tmp_path: Path) -> None:
    message = refused("run", "no-such-model", "--output", str(tmp_path / "y.csv"))
    assert message.endswith(f"try {tmp_path / 'y.npz'}")
    assert "is not a folder" in refused("run", "no-such-model", "--output", str(tmp_path / "absent" / "y.npz"))


def test_report_of_a_folder_without_one(refused: Refused, tmp_path: Path) -> None:
    assert "cannot read" in refused("report", str(tmp_path))


def test_compiling_an_artifact(refused: Refused, model: str, tmp_path: Path) -> None:
    assert "is compiled already" in refused("compile", model, "-o", str(tmp_path / "again.vdla"))
    assert "is compiled already" in refused("run", model, "--no-virtual-threads")


def test_unknown_board_names_the_nearest(refused: Refused) -> None:
    assert "did you mean pynq-z1" in refused("config", "show", "pynq-z7").replace("pynq-z2", "pynq-z1")


def test_unknown_parameter_names_the_nearest(refused: Refused) -> None:
    assert "did you mean vdla.block_out?" in refused("config", "show", "tiny", "--set", "vdla.blok_out=8")


def test_setting_without_a_value(refused: Refused) -> None:
    assert "not of the form key=value" in refused("config", "show", "tiny", "--set", "vdla.block_out")


def test_illegal_config_file(refused: Refused, tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("name: mine\nvdla: {block_in: 12}\n")
    message = refused("config", "check", str(own))
    assert "vdla.block_in" in message and "12" in message
    own.write_text("vdla: [\n")
    assert "not YAML" in refused("config", "check", str(own))


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "resnet18", "--sim", "fast"], ["walk"], ["inspect", "x", "--colour"], ["compile", "resnet18"]],
)
def test_wrong_usage(refused: Refused, arguments: list[str]) -> None:
    assert refused(*arguments)
