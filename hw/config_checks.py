"""Checks behind hw.config: types, ranges, unknown names; each refusal names a legal neighbour."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from hw.errors import ConfigError


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """A hint: the known name nearest to the key, or all of them."""
    known = list(known)
    tails = {k.split(".")[-1]: k for k in known}
    near = difflib.get_close_matches(key, known, 1, 0.6)
    if not near:
        near = [tails[t] for t in difflib.get_close_matches(key.split(".")[-1], tails, 1, 0.6)]
    return f"did you mean {near[0]}?" if near else "known are " + ", ".join(known)


def check_known(data: Mapping[str, Any], names: tuple[str, ...], prefix: str) -> None:
    """Refuse a name that is not among `names`."""
    for key in data:
        if key not in names:
            raise ConfigError(f"{prefix}{key}", "no such parameter", did_you_mean(str(key), names))


def take_section(data: Mapping[str, Any], section: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The section as a new dict, its names checked; an absent section is empty."""
    values = data.get(section) or {}
    if not isinstance(values, Mapping):
        raise ConfigError(section, "not a mapping of parameters", f"for example {section}: {{{names[0]}: 8}}")
    check_known(values, names, f"{section}.")
    return dict(values)


def check_types(config: Any, section: str) -> None:
    """Check the types; a frozen dataclass is written through object.__setattr__ only for int -> float."""
    for f in dataclasses.fields(config):
        value, wanted = getattr(config, f.name), f.type
        key = f"{section}.{f.name}"
        if wanted == "float":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(key, f"{value!r} is not a number", f"try {f.default}")
            object.__setattr__(config, f.name, float(value))
        elif wanted == "str":
            if not isinstance(value, str):
                raise ConfigError(key, f"{value!r} is not a word", f"try {f.default}")
        elif wanted == "MemoryConfig":
            if type(value).__name__ != wanted:
                raise ConfigError("memory", f"{value!r} is not a MemoryConfig", "try MemoryConfig()")
        elif not (value is None and "None" in str(wanted)) and (isinstance(value, bool) or not isinstance(value, int)):
            raise ConfigError(key, f"{value!r} is not a whole number", f"try {1 if f.default is None else f.default}")


def check_range(config: Any, section: str, name: str, low: int, high: int) -> None:
    """Refuse a value outside low..high."""
    value = getattr(config, name)
    if not low <= value <= high:
        raise ConfigError(f"{section}.{name}", f"{value} is not in {low}..{high}", f"try {min(max(value, low), high)}")


def check_choice(config: Any, name: str, legal: tuple[int, ...]) -> None:
    """Refuse a value that is not one of the legal ones."""
    value = getattr(config, name)
    if value not in legal:
        nearest = min(legal, key=lambda v: abs(v - value))
        text = ", ".join(map(str, legal))
        reason = f"{value} is not one of {text}" if len(legal) > 1 else f"{value} is not supported"
        raise ConfigError(f"vdla.{name}", reason, f"try {nearest}")
