"""Instructions of ARM kernels under the emulator: exact, the same every time, used where there are no times."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from compiler.backend.cpu.platforms import PLATFORMS
from compiler.errors import CodegenError
from compiler.tune.database import Database, Record
from compiler.tune.emulator import KernelInstructions
from compiler.tune.errors import MeasureError
from compiler.tune.measure import attempt
from runtime.kernel_library import KernelLibrary
from vdla.cli import run_cli
from vdla.deploy import deploy
from vdla.models.layers import layer_model
from vdla.tune.cpu import CpuGroup, confirm, cpu_session, groups_of
from vdla.tune.kernels import CHOSEN, TARGET
from vdla.tune.remote import emulator_place, kernel_library
from vdla.tune.session import TuneOptions


def handmade(folder: Path, platform: str, body: str) -> KernelLibrary:
    source, library = folder / "kernel.c", folder / "kernel.so"
    source.write_text(f"void run_0(volatile char *arena, void *clock) {{ (void)arena, (void)clock; {body} }}")
    tool = PLATFORMS[platform].linker
    subprocess.run([tool, "-shared", "-fPIC", "-O1", str(source), "-o", str(library)], check=True)
    return KernelLibrary(library.read_bytes(), 1 << 16, 1)


@pytest.mark.parametrize("platform", ["arm64", "armv7"])
def test_instructions_are_counted_to_the_last_one(platform: str, tmp_path: Path) -> None:
    kind = PLATFORMS[platform]
    count = KernelInstructions.of(platform, kind.linker, kind.package, tmp_path)
    none = count(handmade(tmp_path, platform, ""))
    some = count(handmade(tmp_path, platform, 'asm volatile(".rept 1234\\n nop\\n .endr");'))
    assert some.cost - none.cost == 1234
    assert 1 <= none.cost < 30
    crash = attempt(count, handmade(tmp_path, platform, "*(volatile int *)0 = 1;"))
    assert crash.cost is None and "ended with exit code" in crash.error


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MeasureError, match=r"no-such-gcc is not installed \(Debian package gcc-x\)"):
        KernelInstructions.of("arm64", "no-such-gcc", "gcc-x", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeasureError, match=r"qemu-arm is not installed \(Debian package qemu-user\)"):
        KernelInstructions.of("armv7", "gcc", "gcc", tmp_path)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.jsonl"
        command = ["tune", "D9", "--target", "arm64", "--emulate", "--trials", "3", "--search", "random"]
        assert run_cli([*command, "--db", str(path)]) == 0
        assert "instructions by default" in capsys.readouterr().out
        records = list(Database(path))
        assert {record.unit for record in records} == {"instructions"}
        assert {record.machine for record in records} == {"arm64:cortex-a53/instructions"}
        costs.append([(record.point, record.cost) for record in records if record.target == TARGET])
    assert costs[0] == costs[1]
    database = Database(tmp_path / "two.jsonl")
    (counted,) = database.query(target=CHOSEN)
    # An older time is preferred to a count.
    machine = "arm64:cortex-a53/cortex-a53/4 threads"
    timed = Record(counted.workload, CHOSEN, machine, counted.kit, counted.knobs, 1.0, "seconds", time=1.0)
    for expected in (counted.machine, machine):
        deployed = deploy(layer_model("D9"), tmp_path / "d9.o", platform="arm64", database=database.path)
        assert deployed.tuning["machines"] == [expected]
        database.append([timed])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "cpu"], "--emulate counts instructions of ARM processors"),
        (["--target", "vdla"], "--emulate, --int8 and --calibration are for processors"),
        (["--target", "arm64", "--pool", "tls://127.0.0.1:1"], "exclude each other"),
    ],
)
def test_mistakes(options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["tune", "D9", "--emulate", "--db", str(tmp_path / "t.jsonl"), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_candidate_that_cannot_be_compiled_is_a_result(tmp_path: Path) -> None:
    groups = groups_of(layer_model("D9"), "arm64")

    def job(group: CpuGroup, point: int) -> KernelLibrary:
        if point:
            raise CodegenError("LLVM\nends")
        return kernel_library(group, point, PLATFORMS["arm64"], 1)

    place, measurer = emulator_place("arm64", tmp_path, 1, 60.0)
    database = Database(tmp_path / "t.jsonl")
    with measurer:
        options = TuneOptions(trials=3, search="random")
        session = cpu_session(groups, database, place._replace(job=job), options)
        assert [state.outcome.failed for state in session.run()][-1] == 2
        confirm(session, measurer)
    assert sorted(record.error for record in database) == ["", "", *["MeasureError: LLVM ends"] * 2]


def test_int8_kernels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.jsonl"
    command = ["tune", "mobile_tiny", "--target", "arm64:cortex-a76", "--int8", "--emulate", "--trials", "2"]
    assert run_cli([*command, "--search", "random", "--db", str(path)]) == 0
    assert "instructions by default" in capsys.readouterr().out
    code = ["compile", "mobile_tiny", "--target", "arm64:cortex-a76", "-o", str(tmp_path / "m.o"), "--db", str(path)]
    assert run_cli([*code, "--int8"]) == 0
    said = re.search(r"tuned: (\d+) of (\d+) operators .* measured on arm64:cortex-a76/instr", capsys.readouterr().out)
    assert said is not None and said[1] == said[2] != "0"
