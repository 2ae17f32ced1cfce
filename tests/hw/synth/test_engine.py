"""The engine: order, logs, what is skipped and what is not, what a failure says and leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hw.config import Board
from hw.synth.engine import Work, run_flow
from hw.synth.flow import Build, Flow, Result, Step, SynthesisError
from hw.synth.parts import Part, Resources

Run = Callable[[Build, Work], None]


class Chain(Flow):
    """text -> upper -> doubled: steps that count how often they ran, and can be told to fail."""

    name = "chain"
    about = "for tests"
    families = ("xc7",)

    def __init__(self, text: str = "abc") -> None:
        self.text = text
        self.ran: list[str] = []
        self.upper: Run = self._upper

    def steps(self, build: Build) -> Sequence[Step]:
        return [
            Step("write", (), ("text.txt",), self._write, {"text": self.text}),
            Step("upper", ("text.txt",), ("upper.txt",), lambda build, work: self.upper(build, work)),
            Step("double", ("upper.txt",), ("reports/double.txt", "length.txt"), self._double),
        ]

    def result(self, build: Build) -> Result:
        return Result(Resources(lut=int(build.path("length.txt").read_text())))

    def _write(self, build: Build, work: Work) -> None:
        self.ran.append("write")
        work.target("text.txt").write_text(self.text)

    def _upper(self, build: Build, work: Work) -> None:
        self.ran.append("upper")
        script = "import sys; a, b = sys.argv[1:]; print('saying'); open(b, 'w').write(open(a).read().upper())"
        work.tool([sys.executable, "-c", script, work.source("text.txt"), work.target("upper.txt")], install="")

    def _double(self, build: Build, work: Work) -> None:
        self.ran.append("double")
        text = work.source("upper.txt").read_text() * 2
        work.target("reports/double.txt").write_text(text)
        work.target("length.txt").write_text(str(len(text)))


@pytest.fixture
def build(tmp_path: Path) -> Build:
    board = Board.load("pynq-z1")
    return Build(board, board.config, Part.of(board), tmp_path / "out", packed=False)


def files(build: Build) -> set[str]:
    """All files of the build folder but its lock."""
    paths = (path for path in build.folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(build.folder).as_posix() for path in paths}


LOGS = {"logs/01-write.log", "logs/02-upper.log", "logs/03-double.log"}


def test_steps_run_in_order_and_keep_their_logs(build: Build) -> None:
    flow, told = Chain(), []

    def tell(step: str, done: int, total: int, *, skipped: bool) -> None:
        told.append((step, done, total, skipped))

    result = run_flow(flow, build, progress=tell)
    assert flow.ran == ["write", "upper", "double"]
    assert result.used.lut == 6
    assert build.path("reports/double.txt").read_text() == "ABCABC"
    assert files(build) == {"text.txt", "upper.txt", "reports/double.txt", "length.txt", "steps.json"} | LOGS
    assert "saying" in build.path("logs/02-upper.log").read_text()
    assert told == [("write", 0, 3, False), ("upper", 1, 3, False), ("double", 2, 3, False), ("result", 3, 3, False)]


def test_what_is_up_to_date_is_skipped(build: Build) -> None:
    run_flow(Chain(), build)
    again = Chain()
    assert run_flow(again, build).used.lut == 6
    assert again.ran == []
    run_flow(again, build, force=True)
    assert again.ran == ["write", "upper", "double"]


def test_a_change_repeats_what_depends_on_it(build: Build) -> None:
    run_flow(Chain(), build)
    # The text changes, but not what the second step makes of it: the third has nothing to do.
    changed = Chain("aBc")
    run_flow(changed, build)
    assert changed.ran == ["write", "upper"]


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_an_output_that_is_not_what_it_was_is_made_again(build: Build, damage: str) -> None:
    run_flow(Chain(), build)
    path = build.path("upper.txt")
    path.unlink() if damage == "gone" else path.write_text("other")
    again = Chain()
    run_flow(again, build)
    assert again.ran == ["upper"]
    assert path.read_text() == "ABC"


def test_an_interrupted_build_goes_on_and_leaves_nothing_half_written(build: Build) -> None:
    flow = Chain()

    def interrupted(build: Build, work: Work) -> None:
        work.target("upper.txt").write_text("half")
        raise KeyboardInterrupt

    flow.upper = interrupted
    with pytest.raises(KeyboardInterrupt):
        run_flow(flow, build)
    assert files(build) == {"text.txt", "steps.json", "logs/01-write.log", "logs/02-upper.log"}
    again = Chain()
    run_flow(again, build)
    assert again.ran == ["upper", "double"]


def test_an_interrupted_repetition_is_not_taken_for_finished(build: Build) -> None:
    run_flow(Chain(), build)
    flow = Chain("xyz")

    def interrupted(build: Build, work: Work) -> None:
        raise KeyboardInterrupt

    flow.upper = interrupted
    with pytest.raises(KeyboardInterrupt):
        run_flow(flow, build)
    assert build.path("upper.txt").read_text() == "ABC", "the old output is whole until the new one is"
    again = Chain("xyz")
    run_flow(again, build)
    assert again.ran == ["upper", "double"]
    assert build.path("upper.txt").read_text() == "XYZ"


def failing(script: str, timeout_s: float | None = None) -> Run:
    """A step whose tool is this Python script."""

    def run(build: Build, work: Work) -> None:
        work.target("upper.txt").write_text("half")
        work.tool([sys.executable, "-c", script], install="", timeout_s=timeout_s)

    return run


@pytest.mark.parametrize(
    "script, said",
    [
        ("print('ERROR: no cell'); print('bye'); raise SystemExit(3)", "failed in step 'upper': ERROR: no cell"),
        ("print('first'); print('last words'); raise SystemExit(1)", "failed in step 'upper': last words"),
        ("import os; os.kill(os.getpid(), 15)", "was killed by signal 15 in step 'upper': it said nothing"),
    ],
)  # fmt: skip
def test_a_failing_tool_is_quoted_with_its_log(build: Build, script: str, said: str) -> None:
    flow = Chain()
    flow.upper = failing(script)
    with pytest.raises(SynthesisError) as caught:
        run_flow(flow, build)
    log = build.path("logs/02-upper.log")
    assert said in str(caught.value) and str(log) in str(caught.value)
    assert caught.value.log == log
    assert "upper.txt" not in files(build)
    assert "upper" not in json.loads(build.path("steps.json").read_text())


def test_a_tool_that_does_not_end_is_stopped(build: Build) -> None:
    flow = Chain()
    flow.upper = failing("import time; time.sleep(600)", timeout_s=0.2)
    with pytest.raises(SynthesisError, match=r"did not finish within 0.2 s"):
        run_flow(flow, build)


def test_a_missing_tool_says_what_to_install(build: Build) -> None:
    flow = Chain()
    flow.upper = lambda build, work: work.tool(["no-such-placer"], install="pip install placer brings it")
    with pytest.raises(SynthesisError, match="no-such-placer, which step 'upper' needs, is not installed; pip install"):
        run_flow(flow, build)


def test_a_step_that_forgets_an_output_is_found_out(build: Build) -> None:
    flow = Chain()
    flow.upper = lambda build, work: None
    with pytest.raises(SynthesisError, match=r"ended without writing upper\.txt"):
        run_flow(flow, build)


def test_files_are_those_that_the_step_declares(build: Build) -> None:
    flow = Chain()
    flow.upper = lambda build, work: work.source("length.txt") and None
    with pytest.raises(ValueError, match=r"does not declare that it reads length\.txt"):
        run_flow(flow, build)


def test_a_folder_that_cannot_be_made(build: Build, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SynthesisError, match="cannot build in"):
        run_flow(Chain(), build)


def test_two_builds_do_not_share_a_folder(build: Build) -> None:
    flow = Chain()

    def nested(build: Build, work: Work) -> None:
        run_flow(Chain(), build)

    flow.upper = nested
    with pytest.raises(SynthesisError, match="another build runs in"):
        run_flow(flow, build)


def test_broken_records_mean_a_new_start(build: Build) -> None:
    run_flow(Chain(), build)
    build.path("steps.json").write_text("{")
    again = Chain()
    run_flow(again, build)
    assert again.ran == ["write", "upper", "double"]
