"""Detects a user's own module that hides one of the kit's root packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT_PACKAGES = ("hw", "sim", "compiler", "runtime")


class ShadowedPackageError(ImportError):
    """A user's module has the name of one of the kit's packages and is found first on ``sys.path``."""


def check_root_packages() -> None:
    """Checks that ``hw``, ``sim``, ``compiler`` and ``runtime`` are the kit's own.

    The names are short: a ``sim.py`` beside a user's script wins over the installed package, and without this
    check the user would meet an unrelated ``ImportError`` (or worse, none) deep inside the kit.

    Raises:
        ShadowedPackageError: naming the file that is in the way.
    """
    root = Path(__file__).resolve().parent.parent
    for name in ROOT_PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ShadowedPackageError(f"the kit's package `{name}` is missing; reinstall vdla")
        if spec.origin is None:
            found = Path(next(iter(spec.submodule_search_locations or ["?"])))
        else:
            found = Path(spec.origin)
        expected = root / name / "__init__.py"
        if found.resolve() != expected:
            raise ShadowedPackageError(
                f"`import {name}` finds {found} instead of the VDLA kit's package {expected.parent}; "
                f"rename that file or folder, or move it off the start of sys.path"
            )
