"""docs/deploy.md: its commands and its code run as they stand there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.examples.run import ROOT, blocks, run_python
from vdla.models.digits import calibration_inputs

PAGE = "docs/deploy.md"


def test_commands_of_the_c_program_then_the_code(tmp_path: Path) -> None:
    (commands,) = [block for block in blocks(PAGE, "") if "run_model.c" in block]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (image,) = calibration_inputs()[0].values()
    image.tofile(tmp_path / "image.bin")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)
    scores = np.fromfile(tmp_path / "scores.bin", np.float32)
    (code,) = blocks(PAGE, "python")
    more = """
image = np.fromfile("image.bin", np.float32).reshape(network.inputs[0].shape)
(scores,) = load("digits.so").run(image).values()
np.testing.assert_array_equal(scores.reshape(-1), np.fromfile("scores.bin", np.float32))
"""
    run_python("-c", code + more, cwd=tmp_path)
    assert scores.shape == (10,) and np.isfinite(scores).all()
