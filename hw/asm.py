"""Assembler text: one line an instruction, both ways.

``gemm uop=0+9 out=14 in=56 dst=0+56+1 src=0+58+1 wgt=0+0+0 pop=load push=store``

The words follow from the declarations in hw.isa: fields that belong together are joined by ``+`` (see GROUPS),
an enumeration is a bare word behind the mnemonic, a one-bit field is its bare name, and what has its default
value may be left out.  ``#`` starts a comment.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from hw.errors import AsmError, EncodeError
from hw.isa import FLAGS, INSTRUCTIONS, Instruction, Unit, declared_fields, encode

if TYPE_CHECKING:
    from hw.config import Config

GROUPS: dict[str, tuple[str, ...]] = {
    "uop": ("uop_begin", "uop_count"),
    "out": ("iter_out",),
    "in": ("iter_in",),
    "dst": ("dst_base", "dst_out", "dst_in"),
    "src": ("src_base", "src_out", "src_in"),
    "wgt": ("wgt_base", "wgt_out", "wgt_in"),
    "x": ("x_size", "x_dram", "x_sram"),
    "y": ("y_size", "y_dram", "y_sram"),
}
"""Assembler word -> the fields it carries, joined by '+' (those that the instruction has)."""

NEIGHBOURS: dict[Unit, tuple[str, str]] = {
    Unit.LOAD: ("prev", "compute"),
    Unit.COMPUTE: ("load", "store"),
    Unit.STORE: ("compute", "next"),
}
"""Names of a unit's previous and next neighbour; prev and next stand for one that is missing (illegal to run)."""


class _Word(NamedTuple):
    """A ``key=value`` word, or a bare one: the fields it sets."""

    fields: tuple[str, ...]
    defaults: tuple[Any, ...]
    bare: bool


class _Syntax(NamedTuple):
    kind: type[Instruction]
    enums: tuple[tuple[str, type[IntEnum]], ...]
    words: dict[str, _Word]


@cache
def _syntax() -> dict[str, _Syntax]:
    result = {}
    for kind in INSTRUCTIONS:
        declared = {f.name: f for f in declared_fields(kind) if f.name not in FLAGS}
        enums = tuple((n, f.metadata["kind"]) for n, f in declared.items() if _is_enum(f.metadata["kind"]))
        home = {name: word for word, names in GROUPS.items() for name in names}
        words: dict[str, _Word] = {}
        for name, f in declared.items():
            word = home.get(name, name)
            if word in words or _is_enum(f.metadata["kind"]):
                continue
            names = tuple(n for n in GROUPS.get(word, (name,)) if n in declared)
            words[word] = _Word(names, tuple(declared[n].default for n in names), f.metadata["kind"] is bool)
        result[kind.__name__.lower()] = _Syntax(kind, enums, words)
    return result


def _is_enum(kind: type | None) -> bool:
    return kind is not None and issubclass(kind, IntEnum)


def disassemble(program: Iterable[Instruction]) -> str:
    """Text of a program, one line an instruction; assemble() reads it back to equal instructions."""
    return "".join(format_instruction(i) + "\n" for i in program)


def format_instruction(instr: Instruction) -> str:
    """One line of assembler text, without the newline."""
    syntax = _syntax()[type(instr).__name__.lower()]
    parts = [type(instr).__name__.lower()]
    parts += [getattr(instr, name).name.lower() for name, _ in syntax.enums]
    for word, (names, defaults, bare) in syntax.words.items():
        values = tuple(getattr(instr, n) for n in names)
        if bare:
            parts += [word] if values[0] else []
        elif values != defaults:
            parts.append(f"{word}=" + (hex(values[0]) if word == "dram" else "+".join(str(int(v)) for v in values)))
    previous, following = NEIGHBOURS[instr.UNIT]
    for word in ("pop", "push"):
        names = [previous] * getattr(instr, f"{word}_prev") + [following] * getattr(instr, f"{word}_next")
        if names:
            parts.append(f"{word}={'+'.join(names)}")
    return " ".join(parts)


def assemble(text: str, cfg: Config) -> list[Instruction]:
    """Instructions of a program text.

    Raises AsmError (with the line) for text that does not parse, EncodeError for a value that does not fit.
    """
    program = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        instr = _parse(words, number)
        try:
            encode(instr, cfg)
        except EncodeError as error:
            where = f"line {number}: {error.instr}"
            raise EncodeError(where, error.field, error.value, error.width, error.signed) from None
        program.append(instr)
    return program


def _parse(words: list[str], line: int) -> Instruction:
    syntax = _syntax().get(words[0].lower())
    if syntax is None:
        raise AsmError(line, f"unknown instruction '{words[0]}'; {_nearest(words[0], _syntax())}")
    values: dict[str, Any] = {}
    rest = words[1:]
    for name, kind in syntax.enums:
        choices = {member.name.lower(): member for member in kind}
        if not rest or rest[0].lower() not in choices:
            found = f"'{rest[0]}'" if rest else "the end of the line"
            raise AsmError(line, f"{words[0]} expects its {name} ({', '.join(choices)}), not {found}")
        values[name] = choices[rest.pop(0).lower()]
    for text in rest:
        key, equals, value = text.partition("=")
        if key in ("pop", "push"):
            new = _flags(key, value, syntax.kind.UNIT, line)
        elif key not in syntax.words:
            raise AsmError(line, f"{words[0]} has no '{key}'; {_nearest(key, [*syntax.words, 'pop', 'push'])}")
        elif syntax.words[key].bare:
            if equals:
                raise AsmError(line, f"'{key}' takes no value; write it bare or leave it out")
            new = {key: True}
        else:
            names = syntax.words[key].fields
            new = dict(zip(names, _numbers(key, value, len(names), line), strict=True))
        for name in new:
            if name in values:
                raise AsmError(line, f"'{key}' is given twice")
        values.update(new)
    return syntax.kind(**values)


def _numbers(key: str, value: str, count: int, line: int) -> list[int]:
    pieces = value.split("+")
    if len(pieces) != count:
        raise AsmError(line, f"'{key}' expects {count} number{'s joined by +' * (count > 1)}, not '{value}'")
    try:
        return [int(piece, 0) for piece in pieces]
    except ValueError:
        raise AsmError(line, f"'{key}' expects whole numbers (decimal or 0x hexadecimal), not '{value}'") from None


def _flags(word: str, value: str, unit: Unit, line: int) -> dict[str, bool]:
    previous, following = NEIGHBOURS[unit]
    sides = {previous: f"{word}_prev", following: f"{word}_next"}
    result = {}
    for name in value.split("+"):
        if name not in sides:
            legal = " or ".join(n for n in sides if n not in ("prev", "next"))
            raise AsmError(line, f"'{word}' of the {unit.name.lower()} unit names {legal}, not '{name}'")
        result[sides[name]] = True
    return result


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean '{near[0]}'?" if near else "known are " + ", ".join(known)
