"""What a synthesis flow is: a name and an ordered list of steps, each from files to files.

A flow is one file of this package with a class that `register` decorates; nothing else needs to know it::

    @register
    class Example(Flow):
        name = "example"
        about = "what it does, with which tools"
        families = ("xc7",)

        def steps(self, build: Build) -> Sequence[Step]:
            return [
                verilog_step(build),
                Step("place", reads=("vdla.v",), writes=("vdla.bit",), run=place, settings={"seed": 1}),
            ]

        def result(self, build: Build) -> Result: ...


    def place(build: Build, work: Work) -> None:
        work.tool(["placer", work.source("vdla.v"), "-o", work.target("vdla.bit")], install="pip install placer")

hw/synth/engine.py runs the steps: logs, skipping of what is up to date, renaming of finished outputs.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hw.config import Board, Config
from hw.errors import VdlaError
from hw.synth.parts import Part, Resources

if TYPE_CHECKING:
    from hw.synth.engine import Work


class SynthesisError(VdlaError):
    """A build that cannot be made: an unknown flow or option, a tool that is missing or failed.

    `log` is the failed step's log, if there is one.
    """

    def __init__(self, reason: str, log: Path | None = None) -> None:
        self.reason = reason
        self.log = log
        super().__init__(reason + (f"; its log is {log}" if log is not None else ""))


@dataclass(frozen=True)
class Build:
    """What is to be built, and where.

    Attributes:
        board: facts of the board (its `config` is not used: the machine may have been changed).
        config: the machine.
        part: the board's device.
        folder: of the build; the files that steps read and write lie in it.
        packed: two products of the multiplier array a DSP (see `hw.rtl.top.Vdla`).
        options: the flow's own options, all of `Flow.options` and no others.
    """

    board: Board
    config: Config
    part: Part
    folder: Path
    packed: bool
    options: Mapping[str, Any] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """A finished file of the build."""
        return self.folder / name


@dataclass(frozen=True)
class Step:
    """One tool's work, repeated only if something it depends on changed.

    Attributes:
        name: lower case, hyphens; also names the log, ``logs/NN-name.log``.
        reads, writes: files of the build folder (``vdla.v``, ``reports/timing.rpt``).
        run: does the work. It takes each file from ``work.source(name)`` and leaves each at ``work.target(name)``,
            which the engine moves to its place when `run` returns.
        settings: what the outputs depend on besides the files read, e.g. a script's text, the part, a tool's version.
            Values that JSON can hold. The source file of `run` always counts; a step that uses others of the kit adds
            `file_digest` of them, one that generates logic `rtl_digest()`.
    """

    name: str
    reads: Sequence[str]
    writes: Sequence[str]
    run: Callable[[Build, Work], None]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a flow found out about a machine.

    Attributes:
        used: of the whole design.
        units: of each unit, without the units inside it, by path (``core.compute.gemm``; the top is ``vdla``);
            empty where the tool does not tell.
        fmax_mhz: highest clock; None where no tool of the flow says it.
        fmax_tool: which tool said so and what it leaves out, as a person should read it.
        critical_path: from start to end, in the design's terms.
        files: what was made that a user wants, relative to the build folder.
        notes: anything else that a person must know, a sentence each.
        extra: more for synth.json, that JSON can hold.
    """

    used: Resources
    units: Mapping[str, Resources] = field(default_factory=dict)
    fmax_mhz: float | None = None
    fmax_tool: str = ""
    critical_path: Sequence[str] = ()
    files: Sequence[str] = ()
    notes: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Option:
    """An option of a flow: ``--option NAME=VALUE``. The value has the default's type."""

    default: str | int | float | bool
    about: str


class Flow(ABC):
    """A way from a machine to a netlist or a bitstream.

    Attributes:
        name: as given to ``--flow``.
        about: a line for ``--help``.
        families: families of parts that it knows (`hw.synth.parts.BRAM_NAMES`).
        options: by name.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    families: ClassVar[tuple[str, ...]]
    options: ClassVar[Mapping[str, Option]] = {}

    @abstractmethod
    def steps(self, build: Build) -> Sequence[Step]:
        """The steps, in order. Must be cheap, without effects, and must not need the tools."""

    @abstractmethod
    def result(self, build: Build) -> Result:
        """What the finished build is, read from its files."""


_FLOWS: dict[str, Flow] = {}

FlowClass = TypeVar("FlowClass", bound=Flow)


def register(cls: type[FlowClass]) -> type[FlowClass]:
    """Makes a flow known by its name; a class decorator."""
    _FLOWS[cls.name] = cls()
    return cls


def flows() -> dict[str, Flow]:
    """All flows by name: those of this package's files, and what others registered."""
    package = importlib.import_module("hw.synth")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        importlib.import_module(f"hw.synth.{module.name}")
    return dict(sorted(_FLOWS.items()))


def file_digest(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rtl_digest() -> str:
    """Hash of the sources that say what the logic of a machine is."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in (*sorted(root.glob("*.py")), *sorted(root.glob("rtl/*.py"))):
        digest.update(f"{path.name} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def verilog_step(build: Build) -> Step:
    """The step that all flows begin with: the machine as ``vdla.v``, top module ``vdla``."""
    settings = {"fingerprint": build.config.fingerprint, "packed": build.packed, "sources": rtl_digest()}
    return Step("verilog", reads=(), writes=("vdla.v",), run=_write_verilog, settings=settings)


def project_step(files: Mapping[str, str]) -> Step:
    """The step that writes a vendor's project: the text of each file by name."""

    def write(build: Build, work: Work) -> None:
        for name, text in files.items():
            work.target(name).write_text(text, encoding="utf-8")

    return Step("project", reads=(), writes=tuple(files), run=write, settings={"files": dict(files)})


def _write_verilog(build: Build, work: Work) -> None:
    from hw.rtl.verilog import to_verilog

    source = to_verilog(build.config, packed=build.packed)
    work.target("vdla.v").write_text(source, encoding="utf-8")
    work.say(f"{len(source.splitlines())} lines of Verilog")
