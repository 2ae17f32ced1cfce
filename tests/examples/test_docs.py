"""The pages say what is so: their code runs, their quotes are printed, their links lead somewhere."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

import vdla
from compiler import te
from tests.examples.run import ROOT, blocks, quoted_lines, run_example, run_python

PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if not link.startswith("http"):
            assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    roots = "boards|benchmarks|compiler|docs|examples|hw|runtime|scripts|sim|tests|vdla"
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(rf"(?<![\w/.])((?:{roots})/[\w/.-]+\.(?:py|md|sh|yaml|png|json))", text):
        assert (ROOT / name).exists(), name


def test_map_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [p.name for p in (ROOT / "docs").glob("*.md") if p.name != "index.md" and f"({p.name})" not in index]
    assert missing == []


@pytest.mark.parametrize("page", ["docs/add_a_board.md", "docs/schedules.md", "docs/tuning.md"])
def test_sessions(page: str) -> None:
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(ROOT / page), module_relative=False, optionflags=options, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    "page", ["README.md", "docs/add_an_operator.md", "docs/cpu.md", "docs/explore.md", "docs/int8_cpu.md"]
)
def test_code(page: str, tmp_path: Path) -> None:
    (code,) = blocks(page, "python")
    run_python("-c", code, cwd=tmp_path)


def test_code_of_the_target_page(tmp_path: Path) -> None:
    (code,) = blocks("docs/add_a_target.md", "python")
    printed = [line.rstrip() for line in run_python("-c", code, cwd=tmp_path).splitlines()]
    (quoted,) = blocks("docs/add_a_target.md", "text")
    assert printed == quoted_lines(quoted)


def test_board_file(tmp_path: Path) -> None:
    (text,) = blocks("docs/add_a_board.md", "yaml")
    path = tmp_path / "wide.yaml"
    path.write_text(text, encoding="utf-8")
    assert vdla.Config.load(path).block_in == 32


def test_architecture_quotes_the_compiler() -> None:
    printed = run_example("follow_a_convolution.py").splitlines()
    for block in blocks("docs/architecture.md", "text"):
        for line in quoted_lines(block):
            assert line in printed


def test_readme_quotes_the_tutorial() -> None:
    printed = run_example("matmul_tutorial.py").splitlines()
    (table,) = (block for block in blocks("README.md", "text") if "DRAM read" in block)
    for line in quoted_lines(table):
        assert line in printed


def test_operator_page_quotes_the_example() -> None:
    source = (ROOT / "examples" / "own_operator.py").read_text(encoding="utf-8")
    (quoted,) = blocks("docs/add_an_operator.md", "text")
    for line in quoted_lines(quoted):
        assert line.strip() in source


def test_schedule_page_names_every_primitive() -> None:
    page = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| primitive .*?\n\n", page, re.DOTALL)
    primitives = {
        name
        for kind in (te.Stage, te.Schedule)
        for name, method in vars(kind).items()
        if not name.startswith("_") and callable(method) and ">>>" in (method.__doc__ or "") and name != "trace"
    }
    missing = [name for name in primitives if name not in table]
    assert missing == []


def resnet18_cycles(config: vdla.Config, virtual_threads: bool = True) -> int | None:
    artifact = vdla.compile("resnet18", config=config, virtual_threads=virtual_threads)
    return vdla.simulate(artifact, np.zeros(artifact.inputs[0].shape, np.float32)).cycles


def figure(page: str, pattern: str) -> int:
    """The one number with thousands separators that a pattern's group finds in a page."""
    found = {int(n.replace(",", "")) for n in re.findall(pattern, (ROOT / page).read_text(encoding="utf-8"), re.M)}
    assert len(found) == 1, found
    return found.pop()


def test_readme_figure_is_current() -> None:
    """ResNet-18's cycles as the README has them, up to the tuning of a tile or two."""
    written = figure("README.md", r"^([\d,]+) cycles, [\d.]+ ms")
    assert resnet18_cycles(vdla.Config.load("pynq-z1")) == pytest.approx(written, rel=0.01)
    assert figure("docs/latency_hiding.md", r"^on +([\d,]+) cycles") == written


@pytest.mark.slow
def test_further_figures_are_current() -> None:
    machine = vdla.Config.load("pynq-z1")
    off = figure("README.md", r"network takes ([\d,]+) cycles")
    assert resnet18_cycles(machine, virtual_threads=False) == pytest.approx(off, rel=0.01)
    assert figure("docs/latency_hiding.md", r"^off +([\d,]+) cycles") == off
    large = machine.with_(block_in=32, block_out=32, bus_bits=128)
    written = figure("README.md", r"^total .* ([\d,]+) +[\d.]+ % +[\d.]+$")
    assert resnet18_cycles(large) == pytest.approx(written, rel=0.01)
