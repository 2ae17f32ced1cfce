"""Lowered functions to an ELF object."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypedDict, Unpack

import llvmlite.ir as ir

from compiler.backend.llvm.cache import cached, fingerprint
from compiler.backend.llvm.codegen import FunctionEmitter
from compiler.backend.llvm.machine import Machine
from compiler.errors import CodegenError
from compiler.ir import PrimFunc
from compiler.ir.verify import verify

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$]*")
_PROCESSORS_OWN = re.compile(r"llvm\.(x86|aarch64|arm)\.")
#: symbols that generated code may call
_TAKEN = frozenset(
    "malloc free memcpy memset memmove expf exp logf log tanhf tanh erff erf powf pow floorf floor ceilf ceil "
    "roundevenf roundeven sqrtf sqrt".split()
)


def _module(funcs: Sequence[PrimFunc], machine: Machine) -> ir.Module:
    module = ir.Module(name="vdla")
    module.triple, module.data_layout = machine.triple, machine.data_layout
    seen: set[str] = set()
    for func in funcs:
        if not _NAME.fullmatch(func.name) or func.name in _TAKEN or func.name in seen:
            reason = "is used twice" if func.name in seen else "is not a free C symbol name"
            raise CodegenError(f"function name {func.name!r} {reason}")
        seen.add(func.name)
        verify(func)
        FunctionEmitter(module, func, machine).emit()
    return module


def llvm_ir(funcs: Sequence[PrimFunc], *, target_triple: str | None = None, cpu: str = "host") -> str:
    """The LLVM IR of ``funcs`` before optimisation, for reading."""
    return str(_module(funcs, Machine.get(target_triple, cpu)))


class ObjectOptions(TypedDict, total=False):
    """What an object is compiled for.

    target_triple: four-part LLVM triple; None = this machine's. cpu: "host" (the default), "generic" or a name of
    :data:`compiler.backend.llvm.CPUS`. opt: optimisation level 0..3, 3 by default. more: further modules, as LLVM IR,
    that become part of the object. exports: the only functions that are visible from outside; None: all.
    """

    target_triple: str | None
    cpu: str
    opt: int
    more: Sequence[str]
    exports: Collection[str] | None


def compile_functions(funcs: Sequence[PrimFunc], **options: Unpack[ObjectOptions]) -> bytes:
    """An ELF object (position independent) with one symbol a function.

    Each is ``void name(uint8_t *p0, ...)``: one pointer a parameter buffer, in order, aligned to its element and,
    unless ``func.attrs["noalias"]`` is False, to memory that overlaps no other parameter's.  ``func.attrs["contract"] =
    False`` forbids fused multiply-add.  The object needs libm, malloc and free.

    Raises:
        CodegenError: unknown triple or cpu, an intrinsic without CPU code, a bad function name.
        VerifyError: a function breaks a rule of the loop IR.
    """
    return compile_fingerprinted(map(fingerprint, funcs), lambda: funcs, **options)


def compile_fingerprinted(
    fingerprints: Iterable[bytes], functions: Callable[[], Sequence[PrimFunc]], **options: Unpack[ObjectOptions]
) -> bytes:
    """`compile_functions` of functions that are only made if no object of theirs is in the cache.

    fingerprints: of what `functions` returns (`compiler.backend.llvm.cache.fingerprint`).
    """
    opt, more, exports = options.get("opt", 3), list(options.get("more", ())), options.get("exports")
    machine = Machine.get(options.get("target_triple"), options.get("cpu", "host"), opt)
    visible = None if exports is None else sorted(exports)
    settings = (machine.triple, machine.cpu, machine.features, opt, more, visible)

    def compiled() -> bytes:
        module = _module(functions(), machine)
        # Whether a processor has what a schedule declares, LLVM alone knows.
        declared = any(_PROCESSORS_OWN.match(name) for name in module.globals)
        return machine.compile([str(module), *more], exports, isolated=declared)

    return cached(fingerprints, settings, compiled)
