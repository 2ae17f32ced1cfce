"""What the ECP5 flow reads: part numbers, the router's report, and bitstreams."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from hw.errors import ConfigError
from hw.synth.flow import SynthesisError

_PART = re.compile(r"LFE5U-(?P<size>12|25|45|85)F-(?P<speed>[678])(?P<package>BG256|BG381|BG554|BG756)C")
IDCODES: Final = {"12": 0x21111043, "25": 0x41111043, "45": 0x41112043, "85": 0x41113043}
"""JTAG identifiers of the parts, by size; a device refuses the bitstream of another."""
PREAMBLE: Final = b"\xff\xff\xbd\xb3"
RESET_CRC: Final = 0x3B
VERIFY_ID: Final = 0xE2
FILLER: Final = 0xFF


def device_of(part: str) -> tuple[str, str, str]:
    """The router's names of device, package and speed grade: ``("85k", "CABGA381", "6")``.

    Raises ConfigError for a part that is none of its.
    """
    found = _match(part)
    return f"{found['size']}k", f"CA{found['package'].replace('BG', 'BGA')}", found["speed"]


def _match(part: str) -> re.Match[str]:
    found = _PART.fullmatch(part)
    if found is None:
        raise ConfigError("board.part", f"'{part}' is not a part of this flow", "for example LFE5U-85F-6BG381C")
    return found


def check_bitstream(data: bytes, part: str) -> None:
    """Raise SynthesisError unless the bitstream is one for the part, by its preamble and its VERIFY_ID command."""
    begin = data.find(PREAMBLE)
    if begin < 0:
        raise SynthesisError("ecppack wrote a file without a bitstream's preamble")
    wanted = IDCODES[_match(part)["size"]]
    found = _identifier(data[begin + len(PREAMBLE) :])
    if found != wanted:
        what = "nothing" if found is None else f"{found:#010x}"
        raise SynthesisError(f"the bitstream is for {what}, {part} is {wanted:#010x}")


def _identifier(commands: bytes) -> int | None:
    """The operand of VERIFY_ID, which stands before any other command but RESET_CRC."""
    at = 0
    while at + 8 <= len(commands):
        code = commands[at]
        if code == FILLER:
            at += 1
        elif code == RESET_CRC:
            at += 4
        elif code == VERIFY_ID:
            return int.from_bytes(commands[at + 4 : at + 8], "big")
        else:
            return None
    return None


def path_lines(report: Mapping[str, Any], clock: str) -> list[str]:
    """The critical path of a clock from start to end, a line for each step, in the design's names."""
    for path in report["critical_paths"]:
        if _clock(path["from"]) == _clock(path["to"]) == clock:
            return list(_lines(path["path"]))
    return []


def _clock(end: str) -> str:
    # "posedge NET"
    return end.split(" ", 1)[-1]


def _lines(path: list[Mapping[str, Any]]) -> Iterator[str]:
    elapsed, steps = 0.0, []
    for step in path:
        elapsed += step["delay"]
        if step["type"] == "routing":
            steps.append((elapsed, "along", design_name(step["net"])))
        else:
            cell = step["to"] if step["type"] == "setup" else step["from"]
            steps.append((elapsed, f"{step['type']} of", design_name(cell["cell"])))
    # One line for all of a carry chain and of a tree of LUTs, at the time when the path leaves it.
    for _, group in groupby(steps, key=lambda entry: entry[2]):
        *_, (time, what, name) = group
        yield f"{time:6.2f} ns  {what} {name}"


def design_name(name: str) -> str:
    """A net or cell as the design calls it: without the harness around the machine, and what yosys put behind it."""
    # Names made by yosys begin with what they were made from, after its own prefix.
    bare = re.sub(r"\$(?:auto|abc|flatten)\$[^.]*?\$", "", name)
    bare = re.sub(r"\$flatten|\\", "", bare)
    bare = re.split(r"_(?:TRELLIS|LUT4|CCU2C|L6MUX21|PFUMX|MULT18X18D|DP16KD|DPR16X4|DO[AB]\d+)\w*", bare)[0]
    return bare.removeprefix("harness.")
