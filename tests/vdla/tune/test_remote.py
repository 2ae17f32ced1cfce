"""Kernels on the devices of a pool: as libraries, timed there, whatever they do; their records used by the compiler."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vdla
from compiler.backend.cpu.platforms import platform_of
from compiler.tune.database import Database, Record
from compiler.tune.measure import attempt
from compiler.tune.pool import PoolError, load_keys
from compiler.tune.pool.machine import Machine, processor
from compiler.tune.pool.status import members
from compiler.tune.timing import CpuTimer, KernelSeconds
from runtime.errors import ArtifactError
from runtime.kernel_library import KernelLibrary, LoadedLibrary
from tests.compiler.tune.pool_processes import PATIENCE, ROOT, Pool, in_background, until
from vdla.cli import run_cli
from vdla.deploy import deploy
from vdla.errors import UsageError
from vdla.models.layers import layer_model
from vdla.tune.cpu import LoadedStep, groups_of, kernel_job, reference_group
from vdla.tune.kernels import CHOSEN, TARGET, workload
from vdla.tune.remote import kernel_library, pool_place
from vdla.tune.versions import kernels_version

HERE = platform_of("cpu")
TIMER = CpuTimer(repeats=1, shortest=1e-6)


def handmade(folder: Path, name: str, body: str, arena_bytes: int = 64) -> KernelLibrary:
    """A kernel written in C: what `run_0` does, as a library."""
    source, library = folder / f"{name}.c", folder / f"{name}.so"
    source.write_text(
        "#include <time.h>\n#include <unistd.h>\n#include <fcntl.h>\n"
        "void vdla_pool_set_threads(int threads) { (void)threads; }\n"
        "void run_0(volatile char *arena, struct timespec *clock) {\n"
        f"clock_gettime(CLOCK_MONOTONIC, clock);\n{body}\nclock_gettime(CLOCK_MONOTONIC, clock + 1);\n}}\n"
    )
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", str(source), "-o", str(library)], check=True)
    return KernelLibrary(library.read_bytes(), arena_bytes, 1)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    started = Pool(tmp_path_factory.mktemp("pool"))
    yield started
    started.end()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> KernelLibrary:
    return handmade(tmp_path_factory.mktemp("kernels"), "plain", "arena[0]++;")


@pytest.fixture(scope="module")
def kernels(plain: KernelLibrary) -> KernelSeconds:
    """The measure function, with a reference that costs nothing."""
    return KernelSeconds(plain, LoadedLibrary, TIMER)


# ------------------------------------------------------------------------------------------------ a library


@pytest.mark.parametrize("threads", [1, 2])
def test_a_library_computes_what_the_runtime_does(threads: int) -> None:
    (group,) = groups_of(layer_model("D9"))
    for point in group.space.valid_indices()[:3]:
        library = LoadedLibrary(kernel_library(group, point, HERE, threads))
        step = LoadedStep(kernel_job(group, point))
        assert library.run() > 0 and step.run() > 0
        ours = np.frombuffer(memoryview(library._arena), np.float32)
        np.testing.assert_array_equal(ours, step._arena.view(np.float32))
        assert np.isfinite(ours).all() and len(np.unique(ours)) > 100


@pytest.mark.parametrize(("name", "word"), [("arm64", 183), ("armv7:cortex-a7", 40)])
def test_equal_kernels_are_equal_bytes(name: str, word: int) -> None:
    group = reference_group(name)
    one, two = (kernel_library(group, 0, platform_of(name), 1) for _ in range(2))
    assert one == two
    assert one.image[18] == word  # ELF's machine
    with pytest.raises(ArtifactError, match="the kernel cannot be loaded: "):
        LoadedLibrary(one)


def test_what_cannot_be_loaded_is_a_result(kernels: KernelSeconds, plain: KernelLibrary, tmp_path: Path) -> None:
    assert attempt(kernels, plain).cost is not None
    cut = KernelLibrary(plain.image[:100], 64, 1)
    assert "the kernel cannot be loaded: " in attempt(kernels, cut).error
    (tmp_path / "other.c").write_text("int other;")
    subprocess.run(["gcc", "-shared", "-fPIC", "other.c", "-o", "other.so"], cwd=tmp_path, check=True)
    other = KernelLibrary((tmp_path / "other.so").read_bytes(), 64, 1)
    assert "undefined symbol: run_0" in attempt(kernels, other).error


def test_a_device_needs_python_and_dask_alone() -> None:
    code = (
        "import sys\n"
        "for name in ('llvmlite', 'numpy', 'cryptography', 'xgboost', 'onnx', 'rich', 'amaranth'):\n"
        "    sys.modules[name] = None\n"
        "import compiler.tune.pool.__main__, runtime.kernel_library, compiler.tune.timing\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("cpuinfo", "architecture", "name"),
    [
        ("CPU implementer\t: 0x41\nCPU part\t: 0xc09\n", "armv7l", "cortex-a9"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd03\n\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "aarch64",
         "cortex-a72"),
        ("CPU implementer\t: 0x51\nCPU part\t: 0xd03\n", "aarch64", "unknown"),
        ("model name\t: A/B\nflags\t: fpu\n", "armv7l", "unknown"),  # an emulator shows its host's
        ("", "x86_64", "unknown"),
    ],
)  # fmt: skip
def test_names_of_processors(cpuinfo: str, architecture: str, name: str) -> None:
    assert processor(cpuinfo, architecture) == name
    assert Machine.of(str(Machine(name, 4))) == Machine(name, 4)
    assert Machine.of("cpu@0.1.0") is None


# ------------------------------------------------------------------------------------------------ on devices


def test_whatever_a_kernel_does_the_device_stays(
    pool: Pool, kernels: KernelSeconds, plain: KernelLibrary, tmp_path: Path
) -> None:
    pool.start_device("faults", "faults")
    jobs = [
        handmade(tmp_path, "crash", "*(volatile int *)0 = 1;"),
        handmade(tmp_path, "hang", "for (;;) arena[0]++;"),
        KernelLibrary(plain.image, 64 << 30, 1),
        KernelLibrary(b"no library", 64, 1),
        plain,
    ]
    with pool.measurer("faults", 2.0, measure=kernels) as measurer:
        crash, hang, memory, broken, good = measurer.measure(jobs)
    assert crash.error == "its process died (exit code -11)"
    assert hang.error == "took longer than 2 s"
    assert memory.error == "out of memory"
    assert "the kernel cannot be loaded" in broken.error
    assert good.cost is not None and 0 < good.cost < 1


def gated(folder: Path) -> KernelLibrary:
    """A kernel that says that it runs, and waits for what a test does next."""
    body = f'close(creat("{folder}/begun", 0600)); while (access("{folder}/gate", F_OK)) usleep(10000);'
    return handmade(folder, "gated", body)


def test_a_device_killed_while_a_kernel_runs_gives_it_to_another(
    pool: Pool, kernels: KernelSeconds, plain: KernelLibrary, tmp_path: Path
) -> None:
    doomed = pool.start_device("mortal", "doomed")
    with pool.measurer("mortal", measure=kernels) as measurer:
        thread, found = in_background(lambda: measurer.measure([gated(tmp_path), plain]))
        until((tmp_path / "begun").exists, "the measurement")
        doomed.kill()
        pool.start_device("mortal", "heir")
        (tmp_path / "gate").touch()
        thread.join(PATIENCE)
    assert [result.cost is not None for result in found] == [True, True]


def test_two_tuners_share_a_kernels_time(pool: Pool, kernels: KernelSeconds, tmp_path: Path) -> None:
    pool.start_device("shared", "shared")
    job = gated(tmp_path)
    with pool.measurer("shared", measure=kernels) as one, pool.measurer("shared", measure=kernels) as two:
        runs = [in_background(lambda m=m: m.measure([job])) for m in (one, two)]
        until((tmp_path / "begun").exists, "the measurement")
        until(lambda: all(m._client is not None for m in (one, two)), "the connection")
        (tmp_path / "gate").touch()
        for thread, _ in runs:
            thread.join(PATIENCE)
    (first,), (second,) = (found for _, found in runs)
    assert first.cost is not None and first == second  # no two times are equal


def test_two_tuners_at_once_on_one_device(pool: Pool, tmp_path: Path) -> None:
    pool.start_device("cpu", "desk", "--threads", "1")
    command = [sys.executable, "-m", "vdla", "tune", "D9", "--target", "cpu", "--pool", pool.address,
               "--keys", str(pool.keys), "--trials", "4", "--search", "random", "--json"]  # fmt: skip
    tuners = [
        subprocess.Popen(
            [*command, "--db", str(tmp_path / f"{i}.jsonl"), "--seed", str(i)], cwd=ROOT, stdout=subprocess.PIPE
        )
        for i in range(2)
    ]
    for tuner in tuners:
        said, _ = tuner.communicate(timeout=2 * PATIENCE)
        assert tuner.returncode == 0
        (operator,) = json.loads(said)["operators"]
        assert operator["measured"] == 4 and not operator["failed"]
    for i in range(2):
        database = Database(tmp_path / f"{i}.jsonl")
        assert {record.target for record in database} == {TARGET, CHOSEN}
        assert {record.machine.rpartition("/")[2] for record in database} == {"1 threads"}


def test_devices_that_are_not_what_is_asked_for(pool: Pool) -> None:
    keys = load_keys(pool.keys)
    for name, options in (("a53", ("cortex-a53", "4")), ("a72", ("cortex-a72", "2")), ("a72b", ("cortex-a72", "2"))):
        pool.start_device("arm64", name, "--processor", options[0], "--threads", options[1])
    assert [str(m.machine) for m in members(pool.address, keys) if m.kind == "arm64"] == [
        "cortex-a53/4 threads", "cortex-a72/2 threads", "cortex-a72/2 threads"
    ]  # fmt: skip
    with pytest.raises(UsageError, match="different ones.*: cortex-a53/4 threads; cortex-a72/2 threads; register"):
        pool_place("arm64:cortex-a57", pool.address, None, keys, 10.0)
    place, _ = pool_place("arm64:cortex-a72", pool.address, None, keys, 10.0)
    assert place.machine == "arm64:cortex-a72/cortex-a72/2 threads"
    pool.start_device("other", "other", "--processor", "a strange one")
    with pytest.raises(UsageError, match=r"not like this machine.*a strange one/.*--target cpu:x86-64-v3"):
        pool_place("cpu", pool.address, "other", keys, 10.0)


# ------------------------------------------------------------------------------------------------ their records


def test_the_best_schedules_of_another_processor_are_used(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.jsonl")
    (group,) = groups_of(layer_model("D9"), "arm64")
    first, *_, last = group.space.valid_indices()

    def chosen(machine: str, point: int, time: float, version: str | None = None) -> Record:
        knobs = group.space.values(point)
        return Record(
            workload(group.group), CHOSEN, machine, version or kernels_version(), knobs, 1.0, "seconds", time=time
        )

    database.append(
        [
            chosen("arm64:cortex-a53/cortex-a53/4 threads", int(last), 2.0),
            chosen("arm64:cortex-a53/cortex-a53/1 threads", int(first), 1.0),
            chosen("arm64:cortex-a72/cortex-a72/4 threads", int(first), 3.0),
            chosen("arm64:cortex-a53/cortex-a53/4 threads", int(first), 4.0, "0.0"),
        ]
    )
    code = {}
    for name, machines in (
        ("arm64:cortex-a53", ["arm64:cortex-a53/cortex-a53/4 threads"]),
        ("arm64", ["arm64:cortex-a53/cortex-a53/4 threads"]),
        ("arm64:cortex-a72", ["arm64:cortex-a72/cortex-a72/4 threads"]),
        ("arm64:cortex-a76", []),
        ("cpu", []),
    ):
        deployed = deploy(layer_model("D9"), tmp_path / "d9.o", platform=name, database=database.path)
        assert deployed.tuning["machines"] == machines
        assert len(list(deployed.tuning["tuned"])) == len(machines)  # type: ignore[call-overload]
        code[name] = (tmp_path / "d9.o").read_bytes()
    deploy(layer_model("D9"), tmp_path / "d9.o", platform="arm64:cortex-a53")
    assert (tmp_path / "d9.o").read_bytes() != code["arm64:cortex-a53"]
    artifact = vdla.compile(layer_model("D9"), target="arm64", tiles=database.path)
    assert artifact.info["tuning"]["machines"] == ["arm64:cortex-a53/cortex-a53/4 threads"]  # type: ignore[index]


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], pool: Pool) -> None:
    command = ["tune", "D9", "--db", str(tmp_path / "t.jsonl"), "--target"]
    assert run_cli([*command, "arm64:cortex-a53"]) == 2
    said = capsys.readouterr().err
    assert "vdla pool start" in said and "vdla device --scheduler tls://HOST:PORT --kind arm64" in said
    assert run_cli([*command, "arm64:cortex-x1"]) == 2
    assert "no processor 'cortex-x1' of arm64" in capsys.readouterr().err
    assert run_cli([*command, "mips"]) == 2
    assert "no platform 'mips'" in capsys.readouterr().err
    with pytest.raises(PoolError, match="no device 'armv7@"):
        pool_place("armv7", pool.address, None, load_keys(pool.keys), 10.0, patience=0.5)


# ------------------------------------------------------------------------------------------------ an ARM


@pytest.mark.slow
def test_an_emulated_board(pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Python of Debian's for ARMv7, in the emulator, is a device; an operator is tuned on it and compiled."""
    if shutil.which("qemu-arm") is None or shutil.which("apt-get") is None:
        pytest.skip("needs qemu-user and Debian's packages")
    script = [sys.executable, str(ROOT / "scripts" / "emulated_python.py"), "armv7", str(tmp_path / "arm")]
    made = subprocess.run(script, capture_output=True, text=True, check=False)
    if made.returncode == 1:
        pytest.skip(f"packages cannot be installed: {made.stderr[-300:]}")
    assert made.returncode == 0, made.stderr
    pool.start_board(str(tmp_path / "arm" / "python"), "armv7", "--processor", "qemu", "--threads", "2")
    path = tmp_path / "t.jsonl"
    command = ["tune", "D9", "--target", "armv7", "--pool", pool.address, "--keys", str(pool.keys), "--json"]
    assert run_cli([*command, "--trials", "4", "--db", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    (operator,) = document["operators"]
    assert operator["measured"] == 4 and not operator["failed"]
    assert document["config"] == {"name": "qemu", "fingerprint": "armv7:cortex-a9/qemu/2 threads"}
    assert operator["default_seconds"] > 1e-5
    deployed = deploy(layer_model("D9"), tmp_path / "d9.so", platform="armv7", database=path)
    assert deployed.tuning["machines"] == ["armv7:cortex-a9/qemu/2 threads"]
