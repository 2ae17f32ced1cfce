"""Running the examples and the documentation's code as their reader would: in a process of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
WARNINGS_ARE_ERRORS = ("-W", "error")


def run_python(*arguments: str, cwd: Path | None = None) -> str:
    """Standard output of ``python ARGUMENTS``; fails the test with what the process wrote if it does not succeed."""
    done = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, *arguments], cwd=cwd or ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def run_example(name: str, *arguments: str) -> str:
    """Standard output of an example."""
    return run_python(str(ROOT / "examples" / name), *arguments)


def blocks(page: str, language: str) -> list[str]:
    """The fenced code blocks in one language of a page (its path from the root), in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^[ \t]*```{language}\n(.*?)^[ \t]*```", text, re.MULTILINE | re.DOTALL)


def quoted_lines(block: str) -> list[str]:
    """The lines of a block that quotes a program's output: all but blank ones and the dots that stand for more."""
    return [line for line in block.splitlines() if line.strip() not in ("", "...")]
