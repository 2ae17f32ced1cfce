"""Artifacts for boards: code for the board's processor, linked there by LLVM or, without it, by a C compiler."""

from __future__ import annotations

import platform
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vdla
from compiler.backend.cpu.platforms import PLATFORMS
from hw.config import Board, boards
from hw.errors import ConfigError
from runtime import linked_cpu
from runtime.artifact import Artifact, CpuStep
from runtime.errors import ArtifactError
from runtime.executor import Executor
from vdla import models
from vdla.cli import run_cli

# Here as on a board: a platform by name, which is not "this computer", although it is one like it.
LIKE_HERE = {"x86_64": "cpu:x86-64-v2", "aarch64": "arm64"}[platform.machine()]
E_MACHINE = {"armv7": 40, "arm64": 183}


@pytest.mark.parametrize(("board", "host"), [("pynq-z1", "armv7"), ("ultra96", "arm64"), ("de10-nano", "armv7")])
def test_a_board_names_its_processor(board: str, host: str, tmp_path: Path) -> None:
    assert Board.load(board).host == host
    artifact = vdla.compile(models.mlp(), target="board", config=board)
    assert artifact.cpu_code is not None
    assert struct.unpack_from("<H", artifact.cpu_code.image, 18)[0] == E_MACHINE[host]
    # Whole as it is: what the board's own C compiler will link.
    kernels = tmp_path / "cpu.o"
    kernels.write_bytes(artifact.cpu_code.image)
    link = [PLATFORMS[host].linker, "-shared", "-Wl,--no-undefined", str(kernels), "-lm", "-lpthread"]
    subprocess.run([*link, "-o", str(tmp_path / "cpu.so")], check=True)


def test_boards_without_a_processor() -> None:
    alone = [name for name in boards() if Board.load(name).facts.get("family") in ("ecp5", "none")]
    assert alone
    for name in alone:
        with pytest.raises(ConfigError, match="has no processor; name a CPU: cpu, arm64 or armv7"):
            vdla.compile(models.mlp(), target="vdla,board", config=name)


def test_code_for_another_processor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "digits.vdla"
    vdla.compile("digits", target="vdla,armv7").save(path)
    artifact = Artifact.load(path)
    assert any(isinstance(step, CpuStep) for step in artifact.steps)
    with pytest.raises(ArtifactError, match="the CPU code is for armv7-unknown-linux-gnueabihf, this machine is"):
        Executor(artifact)


def test_compiling_for_a_board_says_whose_processor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target, config, missed in (
        ("vdla,cpu", "pynq-z1", True),
        ("vdla,board", "pynq-z1", False),
        ("cpu", "pynq-z1", False),
        ("vdla,cpu", "ulx3s", False),  # has no processor
    ):
        arguments = ["--target", target, "--config", config, "-o", str(tmp_path / "digits.vdla")]
        assert run_cli(["compile", "digits", *arguments]) == 0
        said = capsys.readouterr().out
        assert ("compile with --target vdla,board" in said) == missed, (target, config)


def test_the_same_code_with_and_without_llvm(tmp_path: Path) -> None:
    model = models.resnet_tiny()
    artifact = vdla.compile(model, target=LIKE_HERE)
    inputs = {"x": np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)}
    expected = Executor(artifact).run(inputs).outputs
    assert artifact.cpu_code is not None
    device = linked_cpu.LinkedCpuDevice(artifact.cpu_code, artifact.steps)
    arena = artifact.initial_arena()
    spec, out = artifact.inputs[0], artifact.outputs[0]
    arena[spec.offset : spec.offset + spec.nbytes] = inputs["x"].reshape(-1).view(np.uint8)
    for threads in (1, 2):
        device.threads = threads
        first = artifact.steps[0]
        assert isinstance(first, CpuStep)
        assert len(device.execute(first, arena)) == len(artifact.steps)
        got = arena[out.offset : out.offset + out.nbytes].view(np.float32).reshape(out.shape)
        np.testing.assert_array_equal(got, expected[out.name])


def test_a_computer_without_llvm_needs_no_llvm() -> None:
    code = (
        "import sys\nsys.modules['llvmlite'] = None\n"
        "import runtime.linked_cpu, runtime.shared_library, runtime.executor\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_compiler_either(monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = vdla.compile(models.mlp(), target=LIKE_HERE)
    assert artifact.cpu_code is not None
    monkeypatch.setattr(linked_cpu.shutil, "which", lambda name: None)
    with pytest.raises(ArtifactError, match=r"install a C compiler \(gcc\) or llvmlite"):
        linked_cpu.LinkedCpuDevice(artifact.cpu_code, artifact.steps)
