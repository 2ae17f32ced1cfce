"""``vdla tune`` and what follows: operators and networks tuned, their tiles used, the same bits in no more cycles."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vdla
from compiler.tune.database import Database
from compiler.tune.errors import DatabaseError
from compiler.tune.measure import InlineMeasurer
from hw.config import Config, MemoryConfig
from vdla.cli import run_cli
from vdla.resolve import random_inputs
from vdla.tune.accelerator import Network, accelerator_session, choose_in_network, explorer_of
from vdla.tune.lookup import NETWORK, TARGET, TunedTiles, key_of, machine_key
from vdla.tune.operators import Operator, parse_operator
from vdla.tune.session import Session, TuneOptions
from vdla.tune.simulate import CycleCost
from vdla.tune.templates import space_of, workload

CONFIG = Config.load("pynq-z1").with_(block_in=8, block_out=8)
SMALL = "conv2d:ic=16,h=8,w=8,oc=32,k=3,pad=1"


def tuned(path: Path, operators: list[Operator], **options: object) -> Session:
    """A finished session that measures in this process."""
    measurer = InlineMeasurer(CycleCost(CONFIG))
    session = accelerator_session(CONFIG, operators, Database(path), measurer, TuneOptions(**options))  # type: ignore[arg-type]
    for _ in session.run():
        pass
    return session


@pytest.mark.parametrize("search", ["model", "genetic", "random"])
def test_an_operator(search: str, tmp_path: Path) -> None:
    operator = parse_operator(SMALL, CONFIG)
    session = tuned(tmp_path / "t.jsonl", [operator], trials=12, search=search, seed=1)
    (state,) = session.states
    found = state.outcome
    assert found.trials == found.measured == 12 and found.best_cost <= found.default_cost and not found.failed
    again = tuned(tmp_path / "t.jsonl", [operator], trials=12, search=search, seed=1)
    assert again.states[0].outcome.measured == 0 and again.states[0].outcome.curve == found.curve
    other = tuned(tmp_path / "other.jsonl", [operator], trials=12, search=search, seed=1)
    assert other.states[0].outcome.curve == found.curve
    record = session.database.best(key_of(CONFIG, operator.spec))
    assert record is not None and record.cost == found.best_cost and record.target == TARGET and record.trace


def test_what_was_learnt_of_other_operators_is_a_start(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    pools = [parse_operator(f"max_pool2d:c=32,h={n},w={n},k=3,stride=2,pad=1", CONFIG) for n in (24, 40)]
    (plain,) = tuned(tmp_path / "alone.jsonl", pools[1:], trials=9, search="model").states
    assert plain.prior is None
    tuned(path, pools[:1], trials=24, search="model")
    (state,) = tuned(path, pools[1:], trials=9, search="model", transfer=False).states
    assert state.prior is None and state.outcome.curve == plain.outcome.curve
    moved = Database(tmp_path / "moved.jsonl")
    moved.append(Database(path).query(key_of(CONFIG, pools[0].spec)[0]))
    (state,) = tuned(moved.path, pools[1:], trials=9, search="model").states
    assert state.prior is not None and state.prior.source.records == 24
    assert state.outcome.best_cost <= plain.outcome.best_cost
    (again,) = tuned(moved.path, pools[1:], trials=9, search="model").states
    assert again.outcome.measured == 0 and again.outcome.curve == state.outcome.curve


def test_small_spaces_are_exhausted(tmp_path: Path) -> None:
    operator = parse_operator("dense:ic=16,oc=16", CONFIG)
    space = space_of(CONFIG, operator.spec)
    database = Database(tmp_path / "t.jsonl")
    explorer, prior = explorer_of(TuneOptions(trials=10_000), CONFIG, operator.spec, space, database)
    assert prior is None
    assert sorted(explorer.propose(len(space) + 1)) == space.valid_indices().tolist()


def test_time_is_up_after_every_default(tmp_path: Path) -> None:
    operators = [parse_operator(text, CONFIG) for text in (SMALL, "add:c=16,h=8,w=8")]
    session = tuned(tmp_path / "t.jsonl", operators, seconds=0.0)
    assert [s.outcome.trials for s in session.states] == [1, 1]


def test_a_network(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    network = Network("resnet_tiny", CONFIG)
    operators = network.operators()
    assert len({workload(o.spec) for o in operators}) == len(operators) >= 4
    assert sum(o.uses for o in operators) == 9  # layers on VDLA
    session = tuned(path, operators, trials=6)
    seen: list[str] = []
    found = choose_in_network(network, session, lambda what, best: seen.append(what))
    assert found.best <= found.default
    again: list[str] = []
    repeated = choose_in_network(network, tuned(path, operators, trials=6), lambda what, best: again.append(what))
    assert repeated == found and not again  # nothing new was measured, nothing is tried
    default = vdla.compile("resnet_tiny", config=CONFIG)
    best = vdla.compile("resnet_tiny", config=CONFIG, tiles=path)
    assert default.info["tuning"] == {}
    names = sorted(operator.name for operator in operators)
    tuning: Any = best.info["tuning"]
    (left,) = tuning.pop("untuned")
    assert left.startswith("quantize+")  # the processor's part, tuned for it alone
    assert tuning == {"database": str(path), "tuned": names, "outdated": [], "machines": []}
    inputs = random_inputs(default.inputs)
    reports = [vdla.simulate(artifact, inputs) for artifact in (default, best)]
    assert [r.document["totals"]["cycles"] for r in reports] == [found.default, found.best]
    for name, value in reports[0].outputs.items():
        assert np.array_equal(reports[1].outputs[name], value)
    choices = session.database.query(target=NETWORK)
    assert len(choices) == len(operators) and {r.cost for r in choices} == {float(found.best)}


def test_records_of_other_machines_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    operator = parse_operator(SMALL, CONFIG)
    tuned(path, [operator], trials=2)
    slow = CONFIG.with_(memory=MemoryConfig(read_latency=99))
    assert len({machine_key(c) for c in (CONFIG, slow, CONFIG.with_(block_in=16))}) == 3
    for config, known in ((CONFIG, True), (slow, False), (CONFIG.with_(wgt_buffer=16384), False)):
        tiles = TunedTiles(config, Database(path))
        assert (tiles.conv_tile(operator.spec) is not None) == known  # type: ignore[arg-type]
        assert len(tiles.found) == known


def test_a_record_that_is_not_legal_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    operator = parse_operator(SMALL, CONFIG)
    tuned(path, [operator], trials=1)
    path.write_text(path.read_text().replace('"oc":', '"oc":9'))
    with pytest.raises(DatabaseError, match=r"the best record of conv2d\(n=1, ic=16.* is not legal: knob 'oc'"):
        TunedTiles(CONFIG, Database(path)).conv_tile(operator.spec)  # type: ignore[arg-type]


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "t.jsonl")
    machine = ["--set", "vdla.block_in=8", "--set", "vdla.block_out=8"]
    folder = tmp_path / "report"
    command = ["tune", SMALL, *machine, "--db", path, "--trials", "4", "--report", str(folder)]
    assert run_cli([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (operator,) = document["operators"]
    assert document["schema"] == "vdla.tune/1" and operator["measured"] == 4
    assert operator["best_cycles"] == operator["curve"][-1] <= operator["default_cycles"]
    assert json.loads((folder / "tune.json").read_text())["operators"][0]["curve"] == operator["curve"]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert run_cli(command) == 0
    out = capsys.readouterr().out
    assert "best: threads" in out and "excluded by the rule" in out and path in out
    assert run_cli(["tune", "mlp", *machine, "--db", path, "--trials", "2"]) == 0
    assert "cycles by default" in capsys.readouterr().out
    assert run_cli(["run", "mlp", *machine, "--db", path]) == 0
    # The third is the softmax, which runs on the CPU and is tuned for it alone.
    assert f"tuned: 2 of 3 operators have a schedule from {path}" in capsys.readouterr().out
    artifact = str(tmp_path / "m.vdla")
    assert run_cli(["compile", "mlp", *machine, "--db", path, "-o", artifact]) == 0
    assert "tuned: 2 of 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["tune", "resnet81"], "no file and no built-in model named 'resnet81'"),
        (["tune", "conv3d:k=3"], "no operator and no file 'conv3d:k=3'"),
        (["tune", "dense:ic=4"], "dense needs oc"),
        (["tune", "C2", "--trials", "0"], "--trials"),
        (["tune", "C2", "--search", "luck"], "--search"),
        (["run", "mlp", "--db", "none.jsonl"], "no tuning database none.jsonl; `vdla tune` makes one"),
        (["run", "mlp", "--db", "x", "--no-virtual-threads"], "--db and --no-virtual-threads exclude each other"),
    ],
)
def test_mistakes(command: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(command) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1


def test_interrupted_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    command = [sys.executable, "-m", "vdla", "tune", "C12", "--db", str(path), "--trials", "40", "--search", "random"]
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as ctrl-C does: to the tuner and to its measuring processes
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.strip() == "error: interrupted"
    database = Database(path)
    kept = len(database)
    assert kept >= 2 and database.damaged == 0 and not any(record.error for record in database)
    config = Config.load("pynq-z1")
    operator = parse_operator("C12", config)
    options = TuneOptions(trials=kept, search="random")
    session = accelerator_session(config, [operator], database, InlineMeasurer(CycleCost(config)), options)
    for _ in session.run():
        pass
    assert session.states[0].outcome.trials == kept and session.states[0].outcome.measured == 0
