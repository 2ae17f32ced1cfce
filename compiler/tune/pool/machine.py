"""What a device is to those who time kernels on it: its processor, and how many threads a kernel may use."""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "unknown"

_ARM = "0x41"
_PARTS = {
    "0xc07": "cortex-a7",
    "0xc08": "cortex-a8",
    "0xc09": "cortex-a9",
    "0xc0e": "cortex-a17",
    "0xc0f": "cortex-a15",
    "0xd03": "cortex-a53",
    "0xd05": "cortex-a55",
    "0xd07": "cortex-a57",
    "0xd08": "cortex-a72",
    "0xd09": "cortex-a73",
    "0xd0b": "cortex-a76",
    "0xd0c": "neoverse-n1",
    "0xd40": "neoverse-v1",
    "0xd41": "cortex-a78",
}
"""ARM's part numbers, as Linux shows them -> LLVM's names."""


@dataclass(frozen=True, order=True)
class Machine:
    """A processor's name, and the threads of a kernel; as text ``cortex-a53/4 threads``."""

    processor: str
    threads: int

    def __str__(self) -> str:
        return f"{self.processor}/{self.threads} threads"

    @staticmethod
    def of(text: str) -> Machine | None:
        """The machine that a text names, or None when it is another text."""
        found = re.fullmatch(r"(.+)/(\d+) threads", text)
        return None if found is None else Machine(found[1], int(found[2]))


def processor(cpuinfo: str | None = None, architecture: str | None = None) -> str:
    """The name of this computer's processor; ``unknown`` where Linux does not tell.

    On ARM it is LLVM's (``cortex-a53``; of several kinds the last one, the largest as a rule), on x86 the maker's, with
    a digest of its features.

    >>> processor("CPU implementer : 0x41\\nCPU part : 0xd03\\n", "aarch64")
    'cortex-a53'
    >>> processor("model name : A Processor\\nflags : fpu sse2\\n", "x86_64")
    'A Processor/0b26786f'
    """
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text()
        except OSError:
            return UNKNOWN
    fields = dict(re.findall(r"^(.*?)[ \t]*:[ \t]*(.*)$", cpuinfo, re.MULTILINE))
    if (architecture or platform.machine()).startswith(("arm", "aarch64")):
        return _PARTS.get(fields.get("CPU part", ""), UNKNOWN) if fields.get("CPU implementer") == _ARM else UNKNOWN
    if "model name" not in fields:
        return UNKNOWN
    digest = hashlib.sha256(fields.get("flags", "").encode()).hexdigest()[:8]
    return f"{fields['model name'].replace('/', ' ')}/{digest}"
