"""A planned network to an object and its header."""

from __future__ import annotations

import re
from dataclasses import dataclass

from compiler.backend.aot.elf import section_at_end
from compiler.backend.aot.header import exports, header
from compiler.backend.aot.interface import CONSTANTS_SECTION, interface_ir
from compiler.backend.aot.program import ALIGNMENT, Program
from compiler.backend.cpu import compile_kernels
from compiler.backend.cpu.platforms import Platform
from compiler.backend.llvm import Machine
from compiler.errors import CodegenError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Built:
    """A relocatable ELF object, its bytes in pieces, and the C header of what it defines."""

    image: tuple[bytes | memoryview, ...]
    header: str


def build(program: Program, platform: Platform, pool: str, *, kit_version: str, prefix: str = "vdla") -> Built:
    """Generates code for a network.

    Args:
        pool: the thread pool for the platform, as LLVM IR: vdla_parallel_for and vdla_pool_set_threads.
        kit_version: what the model's info says.
        prefix: what the names of the C functions start with; models linked into one program need different ones.

    Raises:
        CodegenError: the prefix is no C identifier, or LLVM cannot compile for the platform.
    """
    if not _IDENTIFIER.fullmatch(prefix):
        raise CodegenError(f"prefix {prefix!r} is not a C identifier")
    machine = Machine.get(platform.triple, platform.cpu)
    word = f"i{machine.index_bits}"
    interface = interface_ir(program, prefix, platform.name, kit_version, machine.triple, word)
    image = compile_kernels(
        [kernel for kernel, _ in program.calls],
        target_triple=platform.triple,
        cpu=platform.cpu,
        more=[interface, pool],
        exports=exports(prefix),
    )
    size = max(1, program.constant_bytes)
    pieces: list[bytes | memoryview] = [section_at_end(image, CONSTANTS_SECTION, size, ALIGNMENT)]
    end = 0
    for offset, raw in program.constants:
        pieces += [bytes(offset - end), raw.data]
        end = offset + raw.size
    pieces.append(bytes(size - end))
    return Built(tuple(pieces), header(program, prefix))
