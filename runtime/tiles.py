"""Permission to use x86's tile registers (AMX), which Linux gives a process that asks for it."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

# arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
_SYS_ARCH_PRCTL, _REQUEST, _TILE_DATA = 158, 0x1023, 18


@cache
def allow_tiles() -> bool:
    """Ask for the tile registers, for all threads of this process; whether they may be used."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(_SYS_ARCH_PRCTL, _REQUEST, _TILE_DATA) == 0
