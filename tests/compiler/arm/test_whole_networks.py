"""The paper's networks as shared libraries on emulated ARM processors, against ONNX Runtime on this computer."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.arm import PLATFORMS, feeds, relative_error
from vdla import models
from vdla.deploy import deploy


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet", "dqn", "dcgan", "lstm_lm", "transformer"])
def test_outputs_are_the_reference(name: str, platform: str, tmp_path: Path) -> None:
    model = models.MODELS[name]()
    deployed = deploy(model, tmp_path / "model.so", platform=platform)
    assert relative_error(model, deployed, feeds(name, model)) < 1e-4
