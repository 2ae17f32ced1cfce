#!/usr/bin/env python3
"""Makes a Python of ARM that runs here, under QEMU's user-mode emulation, and can be a device of a pool: FOLDER/python.

    python scripts/emulated_python.py armv7 arm/
    arm/python -m compiler.tune.pool tls://127.0.0.1:8786 armv7:cortex-a9 --kit VERSION

Python itself and what is compiled come from Debian, unpacked into the folder (no root, nothing is installed here); Dask
and what it needs beside come from PyPI, in the versions of the Python that runs this script (the kit's, with the extra
"pool"), since tuners and devices must have the same.  Needs apt-get, dpkg-deb, pip and qemu-user.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

KIT = Path(__file__).resolve().parents[1]
ARCHITECTURES = {"armv7": ("armhf", "qemu-arm"), "arm64": ("arm64", "qemu-aarch64")}
"""Platform -> Debian's name of it, and what runs its programs."""

COMPILED = {"psutil", "pyyaml", "msgpack", "tornado", "jinja2", "markupsafe"}
"""What Dask needs that is not Python alone; Debian has it as python3-NAME."""

_APT = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Get::List-Cleanup "false";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Debug::NoLocking "true";
"""

_PYTHON = """\
#!/bin/sh
# A program of ARM cannot be started by name here; this is what Python believes itself to be, for processes of its own.
export PYTHONHOME={root}/usr PYTHONPATH={root}/usr/lib/python3/dist-packages:{site}:{kit} PYTHONDONTWRITEBYTECODE=1
exec {emulator} -L {root} -0 "$0" {root}/usr/bin/python3 "$@"
"""


def pure_packages() -> Iterator[str]:
    """NAME==VERSION of Dask and what it needs, as installed here, less what is compiled."""
    waiting, seen = ["distributed"], set(COMPILED)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            yield f"{name}=={version(name)}"
        except PackageNotFoundError:
            continue  # for another system or another Python
        for text in requires(name) or ():
            found = re.match(r"[\w.-]+", text)
            if found is not None and "extra ==" not in text:
                waiting.append(found[0])


def unpack_debian(architecture: str, folder: Path, root: Path) -> None:
    """Python and the compiled packages from Debian, with everything that they depend on, into `root`."""
    apt = folder / "apt"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "apt.conf").write_text(_APT.format(architecture=architecture, folder=apt))
    run = {"env": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "APT_CONFIG": str(apt / "apt.conf")}}
    subprocess.run(["apt-get", "-q", "update"], check=False, **run)  # what cannot be had shows below
    names = ["python3", *(f"python3-{'yaml' if name == 'pyyaml' else name}" for name in sorted(COMPILED))]
    subprocess.run(
        ["apt-get", "-q", "-y", "--download-only", "--no-install-recommends", "install", *names], check=True, **run
    )
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("platform", choices=ARCHITECTURES)
    parser.add_argument("folder", type=Path, help="a new folder; 90 MB")
    given = parser.parse_args()
    architecture, emulator = ARCHITECTURES[given.platform]
    found = shutil.which(emulator)
    if found is None:
        parser.error(f"{emulator} is not installed (Debian package qemu-user)")
    folder = given.folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    if re.search(r"[^\w./+-]", f"{folder}{KIT}"):
        parser.error("the paths of the folder and of the kit may hold letters, digits and ./_+- only")
    root, site = folder / "root", folder / "site"
    root.mkdir(parents=True)
    try:
        unpack_debian(architecture, folder, root)
        pure = ["--no-deps", "--platform", "any", "--only-binary", ":all:", "--python-version", "3.11"]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), *pure]
        subprocess.run([*pip, *pure_packages()], check=True)
    except subprocess.CalledProcessError as error:
        print(f"error: {error.cmd[0]} failed (exit code {error.returncode})", file=sys.stderr)
        return 1
    shutil.rmtree(folder / "apt")
    python = folder / "python"
    python.write_text(_PYTHON.format(root=root, site=site, kit=KIT, emulator=found))
    python.chmod(0o755)
    subprocess.run([str(python), "-c", "import distributed, ssl"], check=True)
    print(f"made {python}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
