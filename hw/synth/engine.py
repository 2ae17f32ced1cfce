"""Runs a flow's steps: each step's log kept, what is up to date skipped, outputs renamed when they are complete.

A step is up to date when the hash of all it depends on - its settings, the contents of what it reads, the source file
of its `run` - is the one recorded when it last ended, and its outputs still have the contents they had then. So a build
that was interrupted goes on where it was, and one with a changed parameter repeats what that changes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hw.synth.flow import Build, Flow, Result, Step, SynthesisError, file_digest

RECORDS = "steps.json"
"""What each step depended on and left, in the build folder."""
LOGS = "logs"
MESSAGE_LINES = 400
"""Lines at a log's end among which a failed tool's message is looked for."""


class StepProgress(Protocol):
    """Told what runs: the step's name, steps done, steps in all, and whether it was up to date."""

    def __call__(self, step: str, done: int, total: int, *, skipped: bool) -> None: ...


class Work:
    """A step at work: where its files are, its log, its tools. `folder` is its scratch folder, gone afterwards."""

    def __init__(self, build: Build, step: Step, folder: Path, log: Path) -> None:
        self._build, self._step = build, step
        self.folder, self.log = folder, log

    def source(self, name: str) -> Path:
        """A file that the step reads."""
        if name not in self._step.reads:
            raise ValueError(f"step {self._step.name} does not declare that it reads {name}")
        return self._build.path(name)

    def target(self, name: str) -> Path:
        """Where the step must leave a file that it writes; it becomes part of the build when the step has ended."""
        if name not in self._step.writes:
            raise ValueError(f"step {self._step.name} does not declare that it writes {name}")
        path = self.folder / "targets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def say(self, text: str) -> None:
        """A line for the log."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(text + "\n")

    def tool(
        self,
        command: Sequence[str | Path],
        *,
        install: str,
        folder: Path | None = None,
        timeout_s: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run a program in the scratch folder, or in `folder`; all it prints goes to the log.

        `install` says how to come by it, or where to put it. Programs of this Python's packages are found first.
        Raises SynthesisError if it is missing, fails, or takes longer than `timeout_s`.
        """
        name = Path(command[0]).name
        variables = {**os.environ, **(environment or {})}
        variables["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), variables.get("PATH", os.defpath)])
        program = shutil.which(str(command[0]), path=variables["PATH"])
        if program is None:
            raise SynthesisError(f"{name}, which step '{self._step.name}' needs, is not installed; {install}")
        self.say(f"$ {' '.join(map(str, command))}")
        with self.log.open("ab") as log:
            # A session of its own: an interrupt must stop the tool and all that it started.
            process = subprocess.Popen(
                [program, *map(str, command[1:])],
                cwd=folder or self.folder, env=variables, stdin=subprocess.DEVNULL, start_new_session=True,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                raise SynthesisError(f"{name} did not finish within {timeout_s:g} s", self.log) from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, 9)
                    process.wait()
        if code != 0:
            how = f"was killed by signal {-code}" if code < 0 else "failed"
            raise SynthesisError(f"{name} {how} in step '{self._step.name}': {last_message(self.log)}", self.log)


def last_message(log: Path) -> str:
    """What a tool said went wrong: its log's last line that speaks of an error, else the last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines[-MESSAGE_LINES:] if "error" in line.lower()]
    said = errors or [line for line in lines if not line.startswith("$ ")]
    return said[-1] if said else "it said nothing"


def run_flow(flow: Flow, build: Build, *, force: bool = False, progress: StepProgress | None = None) -> Result:
    """Bring a build up to date and say what it is; with `force`, repeat every step.

    Raises SynthesisError if the folder cannot be used, or a step fails. What earlier steps made then remains, and the
    build can go on from there.
    """
    steps = list(flow.steps(build))
    _check(flow, steps)
    tell = progress or (lambda *_, **__: None)
    with _claimed(build.folder):
        records = {} if force else _read_records(build.folder)
        for number, step in enumerate(steps):
            key = _key(build, step)
            fresh = _is_fresh(build, step, records.get(step.name), key)
            tell(step.name, number, len(steps), skipped=fresh)
            if not fresh:
                records.pop(step.name, None)
                _write_records(build.folder, records)
                _run_step(build, step, number)
                outputs = {name: file_digest(build.path(name)) for name in step.writes}
                records[step.name] = {"key": key, "outputs": outputs}
                _write_records(build.folder, records)
        tell("result", len(steps), len(steps), skipped=False)
        return flow.result(build)


def write_atomically(path: Path, data: bytes) -> None:
    """The whole file or what was there before."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)


def _check(flow: Flow, steps: Sequence[Step]) -> None:
    made: set[str] = set()
    for step in steps:
        missing = [name for name in step.reads if name not in made]
        if missing:
            raise ValueError(f"flow {flow.name}: step {step.name} reads {missing[0]}, which no step before it writes")
        made.update(step.writes)


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """The folder for this process alone."""
    try:
        (folder / LOGS).mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise SynthesisError(f"cannot build in {folder}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SynthesisError(f"another build runs in {folder}; wait for it or give another folder") from None
        yield


def _run_step(build: Build, step: Step, number: int) -> None:
    log = build.folder / LOGS / f"{number + 1:02}-{step.name}.log"
    scratch = build.folder / f".work-{step.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        log.write_bytes(b"")
        work = Work(build, step, scratch.resolve(), log)
        step.run(build, work)
        absent = [name for name in step.writes if not work.target(name).is_file()]
        if absent:
            raise SynthesisError(f"step '{step.name}' ended without writing {absent[0]}", log)
        for name in step.writes:
            build.path(name).parent.mkdir(parents=True, exist_ok=True)
            work.target(name).replace(build.path(name))
    except OSError as error:
        raise SynthesisError(f"step '{step.name}' cannot use its files: {error}", log) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_fresh(build: Build, step: Step, record: Any, key: str) -> bool:
    if not isinstance(record, dict) or record.get("key") != key:
        return False
    outputs = record.get("outputs")
    if not isinstance(outputs, dict) or set(outputs) != set(step.writes):
        return False
    return all(build.path(name).is_file() and file_digest(build.path(name)) == outputs[name] for name in outputs)


def _key(build: Build, step: Step) -> str:
    sources = {name: file_digest(build.path(name)) for name in step.reads}
    code = file_digest(Path(step.run.__code__.co_filename))
    described = {"step": step.name, "settings": step.settings, "reads": sources, "writes": list(step.writes)}
    text = json.dumps({**described, "code": code}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_records(folder: Path) -> dict[str, Any]:
    try:
        records = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}


def _write_records(folder: Path, records: Mapping[str, Any]) -> None:
    write_atomically(folder / RECORDS, (json.dumps(records, indent=1) + "\n").encode())
