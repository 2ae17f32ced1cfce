"""The device pool: a real scheduler and real devices in processes of their own, and what may happen to them."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.tune.pool import PoolError, PoolMeasurer, create_keys, load_keys
from compiler.tune.pool.status import members
from runtime.version import KIT_VERSION
from tests.compiler.tune.faults import measure
from tests.compiler.tune.pool_processes import PATIENCE, Pool, in_background, until
from vdla.cli import cli


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    started = Pool(tmp_path)
    yield started
    started.end()


def test_whatever_a_candidate_does_the_device_stays(pool: Pool, tmp_path: Path) -> None:
    pool.start_device()
    jobs = [("cost", "3"), ("hang", ""), ("fail", ""), ("crash", ""), ("memory", ""), ("cost", "4"),
            ("die once", str(tmp_path / "died"))]  # fmt: skip
    with pool.measurer(timeout=5.0) as measurer:
        results = measurer.measure(jobs)
        assert [r.cost for r in results] == [3.0, None, None, None, None, 4.0, 1.0]
        assert results[0].trace == "trace"
        assert results[1].error == "took longer than 5 s"
        assert results[2].error == "ValueError: no such schedule"
        assert results[3].error == f"its process died (exit code {-signal.SIGSEGV})"
        assert results[4].error == "out of memory"
        assert [r.cost for r in measurer.measure([("cost", "7"), ("cost", "7")])] == [7.0, 7.0]
    (member,) = members(pool.address, load_keys(pool.keys))
    assert (member.name, member.kind, member.version) == ("first", "test", KIT_VERSION)


def test_a_device_killed_while_it_measures_gives_its_job_to_another(pool: Pool, tmp_path: Path) -> None:
    doomed = pool.start_device(name="doomed")
    gate = tmp_path / "gate"
    with pool.measurer() as measurer:
        thread, found = in_background(lambda: measurer.measure([("wait for", str(gate)), ("cost", "5")]))
        until(Path(f"{gate}.begun").exists, "the measurement")
        doomed.kill()
        pool.start_device(name="heir")
        gate.touch()
        thread.join(PATIENCE)
    assert [r.cost for r in found] == [9.0, 5.0]


def test_a_restarted_scheduler_gets_the_open_jobs_again(pool: Pool, tmp_path: Path) -> None:
    device = pool.start_device()
    gate = tmp_path / "gate"
    with pool.measurer() as measurer:
        thread, found = in_background(lambda: measurer.measure([("cost", "1"), ("wait for", str(gate))]))
        until(Path(f"{gate}.begun").exists, "the measurement")
        pool.scheduler.kill()
        pool.scheduler.wait()
        pool.start_scheduler()
        gate.touch()
        thread.join(PATIENCE)
    assert [r.cost for r in found] == [1.0, 9.0]
    device.send_signal(signal.SIGINT)
    assert device.wait(PATIENCE) == 130


def test_two_tuners_share_a_measurement(pool: Pool, tmp_path: Path) -> None:
    pool.start_device()
    mark = tmp_path / "mark"
    with pool.measurer() as one, pool.measurer() as two:
        threads = [in_background(lambda m=m: m.measure([("count", str(mark)), ("cost", "1")])) for m in (one, two)]
        for thread, _ in threads:
            thread.join(PATIENCE)
    assert [[r.cost for r in found] for _, found in threads] == [[2.0, 1.0]] * 2
    assert mark.read_text() == "."


def test_nobody_of_the_kind(pool: Pool) -> None:
    pool.start_device(kind="cpu")
    with pool.measurer(kind="vdla-pynq-z1", patience=1.0) as measurer:
        with pytest.raises(PoolError, match=r"no device 'vdla-pynq-z1@.*it has cpu@.*vdla device --scheduler"):
            measurer.measure([("cost", "1")])


def test_without_the_keys_nobody_gets_in(pool: Pool, tmp_path: Path) -> None:
    create_keys(tmp_path / "others")
    with pytest.raises(PoolError, match="knows these keys"):
        members(pool.address, load_keys(tmp_path / "others"), timeout=3.0)
    with pytest.raises(PoolError, match="knows these keys"):
        with PoolMeasurer(
            measure, pool.address, "test", KIT_VERSION, load_keys(tmp_path / "others"), patience=2.0
        ) as measurer:
            measurer.measure([("cost", "1")])
    with socket.create_connection(("127.0.0.1", pool.port), timeout=10) as plain:
        plain.sendall(b"\x00" * 64)
        with pytest.raises(ConnectionResetError):
            if not plain.recv(64):
                raise ConnectionResetError


def test_tuning_on_a_pool_finds_what_tuning_here_finds(pool: Pool, tmp_path: Path) -> None:
    pool.start_device(kind="vdla-pynq-z1", name="one")
    pool.start_device(kind="vdla-pynq-z1", name="two")
    tuned = []
    for where in ([], ["--pool", pool.address, "--keys", str(pool.keys)]):
        command = ["tune", "conv2d:ic=16,h=8,w=8,oc=16,k=3,pad=1", "--trials", "8", "--json",
                   "--db", str(tmp_path / f"{len(where)}.jsonl"), *where]  # fmt: skip
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 0, result.output
        tuned.append(json.loads(result.stdout)["operators"][0])
    assert tuned[0]["best"] == tuned[1]["best"]


def test_keys(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    runner = CliRunner()
    assert runner.invoke(cli, ["pool", "keys", str(folder)]).exit_code == 0
    assert {p.name: p.stat().st_mode & 0o777 for p in folder.iterdir()} == {"pool.crt": 0o600, "pool.key": 0o600}
    with pytest.raises(PoolError, match="holds keys already"):
        create_keys(folder)
    (folder / "pool.crt").write_text("nothing")
    with pytest.raises(PoolError, match="is not a certificate"):
        load_keys(folder)
    with pytest.raises(PoolError, match=r"make them with `vdla pool keys`"):
        load_keys(tmp_path / "none")
