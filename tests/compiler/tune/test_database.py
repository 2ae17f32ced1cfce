"""The tuning database: what is appended is there, whatever happens to the processes that append."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest

from compiler.tune.database import Database, Record
from compiler.tune.errors import DatabaseError


def record(x: int, cost: float | None = 1.0, workload: str = "w", kit: str = "1", error: str = "") -> Record:
    return Record(workload, "vdla", "m", kit, {"x": x, "tile": (1, 2)}, cost, "cycles", error, "s[a].split()", 0.1)


def test_records_come_back(tmp_path: Path) -> None:
    written = Database(tmp_path / "t.jsonl")
    written.append([record(1, 5.0), record(2, 3.0), record(3, None, error="LoweringError: no")])
    written.append([record(1, 4.0, workload="v")])
    read = Database(written.path)
    assert len(read) == 4 and read.damaged == 0
    best = read.best(("w", "vdla", "m", "1"))
    assert best is not None and best.cost == 3.0 and best.trace == "s[a].split()"
    assert read.find(("w", "vdla", "m", "1"), {"tile": [1, 2], "x": 1}) == written.find(record(1).key, record(1).knobs)
    assert len(read.query(workload="w")) == 3 and len(read.query(workload="v", kit="1")) == 1
    assert read.best(("w", "vdla", "other", "1")) is None
    assert read.best(("w", "vdla", "m", "2")) is None


def test_a_success_outweighs_a_failure(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.jsonl")
    database.append([record(1, 7.0), record(1, None, error="took longer than 1 s")])
    best = database.best(record(1).key)
    assert best is not None and best.cost == 7.0


def test_an_unfinished_line_is_passed_over_and_ended(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    database = Database(path)
    database.append([record(1)])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:37])  # killed while writing its second record
    after = Database(path)
    assert len(after) == 1
    after.append([record(2)])
    assert len(after) == 2 and after.damaged == 1
    assert len(Database(path)) == 2


def test_merge_takes_what_is_missing(tmp_path: Path) -> None:
    a, b = Database(tmp_path / "a.jsonl"), Database(tmp_path / "b.jsonl")
    shared = record(1)
    a.append([shared])
    b.append([shared, record(2), record(3)])
    assert a.merge(b) == 2 and a.merge(b) == 0
    assert len(a) == 3


def _append_many(path: Path, first: int) -> None:
    database = Database(path)
    for x in range(first, first + 50):
        database.append([record(x), record(x + 1000)])


def test_several_processes_append(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append_many, args=(path, 100 * k)) for k in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    database = Database(path)
    assert len(database) == 300 and database.damaged == 0
    assert {r.knobs["x"] for r in database} == {100 * k + x + y for k in range(3) for x in range(50) for y in (0, 1000)}


def _append_forever(path: Path) -> None:
    database, x = Database(path), 0
    while True:
        database.append([record(x)])
        x += 1


def test_a_killed_process_loses_only_what_it_was_writing(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    process = multiprocessing.get_context("fork").Process(target=_append_forever, args=(path,))
    process.start()
    while not path.exists() or path.stat().st_size < 3000:
        assert process.is_alive()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    database = Database(path)
    before = len(database)
    database.append([record(-1)])  # the lock died with its owner
    again = Database(path)
    assert len(again) == before + 1 and again.damaged <= 1
    assert [r.knobs["x"] for r in again] == [*range(before), -1]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.jsonl")
    database.append([record(1)])
    before = database.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(DatabaseError, match=r"cannot write .*t\.jsonl: File too large"):
            database.append([record(2), record(3)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert database.path.read_bytes() == before
    database.append([record(2)])
    assert len(Database(database.path)) == 2


def test_mistakes(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a database\n")
    with pytest.raises(DatabaseError, match="is not a tuning database"):
        Database(other)
    with pytest.raises(DatabaseError, match="cannot read"):
        Database(tmp_path)
    with pytest.raises(DatabaseError, match="cannot write"):
        Database(tmp_path / "no" / "t.jsonl").append([record(1)])
