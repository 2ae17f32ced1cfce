"""The CPUs that code can be generated for by name, as data: what LLVM calls them, and who links their programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.backend.llvm import Machine


@dataclass(frozen=True)
class Platform:
    """A kind of computer under Linux.

    name: as a target. triple: LLVM's, of four parts; None is this computer's. cpu: LLVM's name of the least processor
    that the code runs on, "host" for this one. features: LLVM's names of those it may use, for a processor that is not
    this one. linker: the C compiler that links its programs, and package: the Debian package that has it.
    """

    name: str
    triple: str | None
    cpu: str
    features: tuple[str, ...] = ()
    linker: str = "gcc"
    package: str = "gcc"

    @property
    def llvm_triple(self) -> str:
        """LLVM's triple, also of this computer."""
        return self.triple or Machine.get().triple


_ALL = (
    Platform("cpu", None, "host"),
    Platform(
        "arm64",
        "aarch64-unknown-linux-gnu",
        "cortex-a53",
        ("neon",),
        "aarch64-linux-gnu-gcc",
        "gcc-aarch64-linux-gnu",
    ),
    Platform(
        "armv7",
        "armv7-unknown-linux-gnueabihf",
        "cortex-a9",
        ("neon", "vfp3"),
        "arm-linux-gnueabihf-gcc",
        "gcc-arm-linux-gnueabihf",
    ),
)
#: name -> platform
PLATFORMS: Mapping[str, Platform] = {platform.name: platform for platform in _ALL}
