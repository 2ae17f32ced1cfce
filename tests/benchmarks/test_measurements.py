"""The measuring scripts on small networks: they run and their figures add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import parameters, resnet18, tuning, tuning_networks, tuning_transfer
from hw.config import Config
from vdla.cli import run_cli


def test_layers_of_the_paper_are_found_and_add_up() -> None:
    config = Config.load("tiny")
    off, on = (resnet18.measure("resnet_tiny", config, virtual_threads=threads) for threads in (False, True))
    rows = resnet18.layer_rows(on)
    assert set(rows) >= {"C1", "C2", "C4", "C5", "C6", "fc"}
    assert sum(resnet18.summary(layers, config.macs_per_cycle)[0] for layers in rows.values()) == on["totals"]["cycles"]
    alone = resnet18.measure(resnet18.c3(), config, virtual_threads=True)
    text = resnet18.section(off, on, (alone, alone), config.macs_per_cycle)
    assert f"{on['totals']['cycles']:,}" in text and "| C3 (alone) | 1 | 12,845,056 |" in text


@pytest.mark.slow
def test_parameter_sweep_compares_bits() -> None:
    result = CliRunner().invoke(parameters.main, ["--model", "resnet_tiny", "--config", "tiny"])
    assert result.exit_code == 0, result.output
    assert "DIFFERENT" not in result.output and "reference" in result.output


def test_tuning_and_transfer(tmp_path: Path) -> None:
    database = str(tmp_path / "t.jsonl")
    common = ["--operator", "conv2d:ic=32,h=8,w=8,oc=64,k=3,pad=1", "--seeds", "1", "--db", database]
    result = CliRunner().invoke(tuning.main, [*common, "--trials", "24"])
    assert result.exit_code == 0, result.output
    for explorer in tuning.EXPLORERS:
        assert f" {explorer} | " in result.output
    found = {"C2": ({"random": np.full((2, 5), 8.0)}, 9.0, 7.0)}
    assert len(tuning.picture(found).axes) == 1
    result = CliRunner().invoke(tuning_transfer.main, [*common, "--trials", "16"])
    assert result.exit_code == 0, result.output
    assert "transferred | " in result.output


def test_trials_until() -> None:
    curves = np.array([[9.0, 8.0, 5.0], [9.0, 9.0, 9.0], [4.0, 4.0, 4.0]])
    assert tuning.trials_until(curves, 5.0) == "3" and tuning.trials_until(curves[:2], 5.0) == "> 3"


def test_tuned_networks(tmp_path: Path) -> None:
    database = str(tmp_path / "t.jsonl")
    command = ["tune", "mlp", "--config", "tiny", "--db", database, "--trials", "3"]
    assert run_cli(command) == 0
    result = CliRunner().invoke(
        tuning_networks.main, ["--model", "mlp", "--config", "tiny", "--set", "", "--db", database]
    )
    assert result.exit_code == 0, result.output
    assert "| tiny | 2 | " in result.output and "| same |" in result.output
