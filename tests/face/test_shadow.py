"""A user's own module that hides one of the kit's packages is named when `vdla` is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["hw", "sim", "compiler", "runtime"])
@pytest.mark.parametrize("as_package", [False, True])
def test_shadowing_module_is_named(tmp_path: Path, name: str, as_package: bool) -> None:
    if as_package:
        (tmp_path / name).mkdir()
        hiding = tmp_path / name / "__init__.py"
    else:
        hiding = tmp_path / f"{name}.py"
    hiding.write_text("")
    (tmp_path / "script.py").write_text(
        "try:\n    import vdla\nexcept ImportError as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ShadowedPackageError")
    assert f"`import {name}` finds {hiding}" in done.stdout
    assert "rename" in done.stdout


def test_other_modules_beside_the_script_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text("")
    (tmp_path / "script.py").write_text("import utils, vdla\nprint(vdla.__version__)\n")
    done = subprocess.run([sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, check=True)
    assert done.stdout.strip()
