"""An object to a shared library, by the platform's own C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from compiler.backend.cpu.platforms import Platform
from compiler.errors import CompileError


class LinkError(CompileError):
    """The platform's linker is missing, or refuses an object."""


def link(objects: list[Path], output: Path, platform: Platform) -> None:
    """Links a shared library that needs libc, libm and libpthread and stays loaded (threads of its pool may run in it).

    Raises:
        LinkError: the linker is not installed, or fails.
    """
    tool = shutil.which(platform.linker)
    if tool is None:
        raise LinkError(
            f"linking for {platform.name} needs {platform.linker}, which is not installed (Debian package "
            f"{platform.package}); or ask for an object, {output.with_suffix('.o').name}, and link it elsewhere"
        )
    options = [
        "-shared",
        "-static-libgcc",
        # No build ID: it is a hash of everything, weights included, and takes longer than the rest.
        "-Wl,-z,nodelete,-z,noexecstack,--no-undefined,--gc-sections,--build-id=none",
        "-o",
        str(output),
    ]
    done = subprocess.run(
        [tool, *options, *map(str, objects), "-lm", "-lpthread"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = " ".join(done.stderr.split())[-300:]
        raise LinkError(f"{platform.linker} cannot link {output.name}: {reason}")
