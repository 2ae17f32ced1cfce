"""What the measurements share: Markdown tables, a description of this machine, sections of RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column reads from the left, the others (figures) from the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def percent(fraction: float | None) -> str:
    """A share as percent with one decimal; empty for None."""
    return "" if fraction is None else f"{100 * fraction:.1f} %"


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def setting() -> str:
    """One paragraph: the command, the day, the machine, the versions that figures depend on."""
    module = Path(sys.argv[0]).stem
    arguments = [argument for argument in sys.argv[1:] if argument != "--write"]
    command = shlex.join(["python", "-m", f"benchmarks.{module}", *arguments])
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "llvmlite", "onnx"))
    return (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} logical processors, "
        f"Python {platform.python_version()}, {versions}."
    )


def write_section(path: Path, title: str, body: str) -> None:
    """Replace the section `## title` of a Markdown file, or append it; the other sections stay as they are."""
    text = path.read_text() if path.exists() else "# Results\n"
    section = f"## {title}\n\n{body.strip()}\n"
    start = re.search(rf"^## {re.escape(title)}$", text, re.MULTILINE)
    if start is None:
        path.write_text(f"{text.rstrip()}\n\n{section}")
        return
    end = re.search(r"^## ", text[start.end() :], re.MULTILINE)
    rest = "" if end is None else "\n" + text[start.end() + end.start() :]
    path.write_text(text[: start.start()] + section + rest)


def publish(title: str, body: str, *, write: bool) -> None:
    """Print a section, headed by the setting it was measured in; with `write` also put it into RESULTS.md."""
    body = f"{setting()}\n\n{body}"
    print(f"## {title}\n\n{body}")
    if write:
        write_section(RESULTS, title, body)


class Stopwatch:
    """Wall-clock seconds of a ``with`` block, in ``seconds``."""

    seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
