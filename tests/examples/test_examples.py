"""Every example runs, and shows what it says it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.run import ROOT, run_example

OTHERS = {"hand_written_program.py": "tests/sim", "digits_accuracy.py": "tests/models"}
"""Examples that other folders test."""


def test_every_example_is_tested() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    missing = [p.name for p in (ROOT / "examples").glob("*.py") if p.name not in OTHERS and f'"{p.name}"' not in here]
    assert missing == []


def test_other_examples_are_tested_where_it_says() -> None:
    for name, folder in OTHERS.items():
        stem = name.removesuffix(".py")
        assert any(stem in p.read_text(encoding="utf-8") for p in (ROOT / folder).glob("test_*.py")), name


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """What the tutorial prints and draws."""
    picture = tmp_path_factory.mktemp("tutorial") / "picture.png"
    return run_example("matmul_tutorial.py", "--picture", str(picture)), picture.read_bytes()


def test_tutorial_is_right_in_every_step(tutorial: tuple[str, bytes]) -> None:
    printed = tutorial[0]
    assert printed.count("run on this computer: equal to numpy: True") == 4
    assert printed.count("run on VDLA: equal to numpy: True") == 4
    assert "equal to numpy: False" not in printed
    assert [int(n) for n in re.findall(r"^Step (\d)\.", printed, re.MULTILINE)] == list(range(1, 9))


def test_tutorial_marks_what_a_step_changed(tutorial: tuple[str, bytes]) -> None:
    printed = tutorial[0]
    tensorize = printed[printed.index("Step 5.") : printed.index("Step 6.")]
    new = [line for line in tensorize.splitlines() if line.startswith(">")]
    assert len(new) == 2
    assert "vdla.gemm(" in new[0] and "vdla.requant(" in new[1]


def test_tutorial_shows_latency_hiding(tutorial: tuple[str, bytes]) -> None:
    shares = [float(n) / 100 for n in re.findall(r"run on VDLA: .* utilisation ([\d.]+)%", tutorial[0])]
    small, large, threads, alternate = shares
    assert small < large < threads < alternate
    assert large < 0.72
    assert threads > 0.85
    assert alternate > 0.95


def test_tutorial_shows_the_hazard_of_few_accumulators(tutorial: tuple[str, bytes]) -> None:
    waits = {int(rows): float(n) for rows, n in re.findall(r"^ +(\d) rows? ?: ([\d.]+)$", tutorial[0], re.MULTILINE)}
    assert sorted(waits) == [1, 2, 4, 8]
    assert waits[1] > 2.5 > 1.1 > waits[2] > 0.5
    assert waits[4] == waits[8] == 0


def test_tutorial_draws(tutorial: tuple[str, bytes]) -> None:
    assert tutorial[1].startswith(b"\x89PNG")


def test_own_operator() -> None:
    printed = run_example("own_operator.py")
    assert printed.count("equal to numpy: True") == 3
    assert "equal to numpy: False" not in printed
    busy = [float(n) for n in re.findall(r"vector unit busy ([\d.]+)%", printed)]
    assert busy[0] < busy[1]
    distance = re.search(r"largest distance to the real function: ([\d.]+) steps", printed)
    assert distance is not None and float(distance[1]) < 1


def test_run_network() -> None:
    printed = run_example("run_network.py", "--model", "digits", "--config", "tiny")
    lines = re.findall(r"^ +(.+?) +([\d,]+) cycles +([\d.]+) +utilisation +[\d.]+% +same bits: (\w+)$", printed, re.M)
    assert {same for *_, same in lines} == {"True"}
    relative = {name: float(ratio) for name, _, ratio, _ in lines}
    assert relative["as it is"] == 1
    assert relative["without virtual threads"] > 1
    assert relative["bus twice as wide"] < 1
    assert relative["memory of four times the latency"] > 1


def test_follow_a_convolution() -> None:
    printed = run_example("follow_a_convolution.py")
    order = [
        "= Conv(", "= conv2d(", "= requantize(", "group on vdla", "in vthread(2)", "s[out].bind(", "passes: make_loops",
        "gemm uop=",
    ]  # fmt: skip
    places = [printed.index(text) for text in order]
    assert places == sorted(places)
