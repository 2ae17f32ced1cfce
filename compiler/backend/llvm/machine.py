"""The processor that code is generated for, and LLVM's optimiser and emitter set up for it.

LLVM aborts the whole process on what its back end cannot translate, so triples and processor names are checked against
lists here, and code for any processor but this one is compiled in a helper process.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from threading import Lock

import llvmlite.binding as llvm

from compiler.errors import CodegenError

#: architecture -> processor names accepted for it (besides "generic", and "host" on the host's own)
CPUS: dict[str, frozenset[str]] = {
    "x86_64": frozenset(
        "x86-64 x86-64-v2 x86-64-v3 x86-64-v4 nehalem sandybridge haswell skylake alderlake skylake-avx512 "
        "icelake-server sapphirerapids znver1 znver2 znver3 znver4 znver5".split()
    ),
    "aarch64": frozenset(
        "cortex-a53 cortex-a55 cortex-a57 cortex-a72 cortex-a73 cortex-a76 cortex-a78 neoverse-n1 neoverse-v1".split()
    ),
    "armv7": frozenset("cortex-a7 cortex-a8 cortex-a9 cortex-a15 cortex-a17".split()),
}
_FEATURES = {"armv7": ("neon", "vfp3"), "aarch64": ("neon",), "x86_64": ("sse2",)}
_AVX2 = ("avx2", "fma")
_AVX512 = (*_AVX2, "avx512f", "avx512bw")
_VNNI = (*_AVX512, "avx512vnni")
#: what schedules ask for and a processor has beyond its architecture's base, by LLVM's names
EXTENSIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("cortex-a55", "cortex-a76", "cortex-a78", "neoverse-n1", "neoverse-v1"), ("dotprod",)),
    **dict.fromkeys(("x86-64-v3", "haswell", "skylake", "znver1", "znver2", "znver3"), _AVX2),
    "alderlake": (*_AVX2, "avxvnni"),
    **dict.fromkeys(("x86-64-v4", "skylake-avx512"), _AVX512),
    **dict.fromkeys(("icelake-server", "znver4"), _VNNI),
    "znver5": (*_VNNI, "avxvnni"),
    "sapphirerapids": (*_VNNI, "avxvnni", "amx-tile", "amx-int8"),
}
# Multiply-accumulate as one instruction also where sums follow one another closely (schedules see to sums in between),
# and instructions ordered with an eye on the registers.
_TUNING = {"armv7": ("-expand-fp-mlx", "+use-misched")}

_lock = Lock()
_ready = False


def initialise() -> None:
    """Make LLVM's back ends known; more than once is harmless."""
    global _ready
    with _lock:
        if not _ready:
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
            _ready = True


class Machine:
    """One processor: use :meth:`get`.

    Attributes:
        triple: four-part LLVM triple.
        index_bits: width of an address offset (32 or 64).
        vector_bits: preferred vector width.
        is_host: whether it is this computer's own processor, by its own name.
    """

    def __init__(self, triple: str, cpu: str, features: str, opt: int, is_host: bool = False) -> None:
        self.triple, self.cpu, self.features, self.opt, self.is_host = triple, cpu, features, opt, is_host
        target = llvm.Target.from_triple(triple)
        self._tm = target.create_target_machine(cpu=cpu, features=features, opt=opt, reloc="pic", codemodel="default")
        self.data_layout = str(self._tm.target_data)
        self.index_bits = 32 if triple.startswith("arm") else 64
        self.vector_bits = 512 if "+avx512f" in features else 256 if "+avx2" in features else 128

    @staticmethod
    def get(triple: str | None = None, cpu: str = "host", opt: int = 3) -> Machine:
        """The machine for a triple (None: this one) and a processor name.

        Raises:
            CodegenError: the triple's architecture or the processor is not in :data:`CPUS`.
        """
        initialise()
        host = llvm.get_default_triple()
        triple = triple or host
        arch, host_arch = triple.split("-", 1)[0], host.split("-", 1)[0]
        if arch not in CPUS:
            raise CodegenError(
                f"target triple {triple!r}: architecture {arch!r} is not one of {', '.join(sorted(CPUS))}"
            )
        if triple.count("-") != 3:
            raise CodegenError(f"target triple {triple!r} must have four parts, e.g. {arch}-unknown-linux-gnu")
        if opt not in (0, 1, 2, 3):
            raise CodegenError(f"optimisation level {opt!r}; it must be 0, 1, 2 or 3")
        extensions = (f"+{name}" for name in (*_FEATURES[arch], *EXTENSIONS.get(cpu, ())))
        features = ",".join((*extensions, *_TUNING.get(arch, ())))
        is_host = cpu == "host"
        if is_host:
            if arch != host_arch:
                raise CodegenError(f"cpu 'host' is a {host_arch}, the triple {triple!r} is not: name a processor")
            cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
        elif cpu != "generic" and cpu not in CPUS[arch]:
            raise CodegenError(f"unknown cpu {cpu!r} for {arch}; known: generic, {', '.join(sorted(CPUS[arch]))}")
        return _machine(triple, cpu, features, opt, is_host)

    def compile(
        self, modules: Sequence[str], exports: Collection[str] | None = None, *, isolated: bool = False
    ) -> bytes:
        """Links modules (LLVM IR as text), optimises them and returns them as one ELF object.

        Args:
            exports: the functions that stay visible from outside; None: all of them.
            isolated: compile in the helper process, which code for any processor but this one always is.

        Raises:
            CodegenError: LLVM refuses the modules, or the helper ended while it compiled them.
        """
        if isolated or not self.is_host:
            from compiler.backend.llvm.worker import compile_in_worker

            return compile_in_worker(self, modules, exports)
        return self.emit(modules, exports)

    def emit(self, modules: Sequence[str], exports: Collection[str] | None = None) -> bytes:
        """As :meth:`compile`, in this process, whatever it may lead to."""
        with _lock:
            try:
                module, *more = [llvm.parse_assembly(text) for text in modules]
                for other in more:
                    module.link_in(other)
                module.verify()
            except RuntimeError as error:
                raise CodegenError(
                    f"LLVM refuses the code for {self.triple}: {' '.join(str(error).split())}"
                ) from error
            for function in module.functions if exports is not None else ():
                if not function.is_declaration and function.name not in (exports or ()):
                    function.linkage = llvm.Linkage.internal
            options = llvm.create_pipeline_tuning_options(speed_level=self.opt)
            options.loop_vectorization = self.opt > 0
            options.slp_vectorization = self.opt > 0
            options.loop_interleaving = self.opt > 0
            options.loop_unrolling = self.opt > 0
            builder = llvm.create_pass_builder(self._tm, options)
            builder.getModulePassManager().run(module, builder)
            return self._tm.emit_object(module)


def host_features() -> tuple[str, ...]:
    """LLVM's names of what this machine's processor has, sorted."""
    return tuple(sorted(name for name, there in llvm.get_host_cpu_features().items() if there))


@lru_cache(maxsize=16)
def _machine(triple: str, cpu: str, features: str, opt: int, is_host: bool) -> Machine:
    return Machine(triple, cpu, features, opt, is_host)
