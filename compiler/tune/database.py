"""The tuning database: one JSON line a measurement, in a file that several processes append to.

A line is appended under an exclusive lock in one write and flushed to the disk before the lock is released, so no
record is torn by another process.  A process killed while it writes leaves at most one unfinished line; the next
writer ends that line, and readers pass over it (:attr:`Database.damaged` counts such lines).
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from compiler.tune.errors import DatabaseError

SCHEMA = "vdla.tuning/1"

Key = tuple[str, str, str, str]
"""Workload, target, machine and version: what a cost is valid for."""


@dataclass(frozen=True)
class Record:
    """The measurement of one point of a schedule space.

    Attributes:
        workload: what was computed, as text: equal texts are equal work.
        target: where, and how it was measured (``vdla/cycle``).
        machine: fingerprint of the machine and of what else moves its times.
        kit: version: a digest of the sources that the cost follows from (once it was the kit's release).
        knobs: knob name -> value.
        cost: in ``unit``; None when the measurement failed.
        unit: ``cycles`` or ``seconds``.
        error: why it failed, else empty.
        trace: the schedule as printable Python.
        seconds: wall time of building and measuring.
        time: when, seconds since 1970.
    """

    workload: str
    target: str
    machine: str
    kit: str
    knobs: Mapping[str, Any]
    cost: float | None
    unit: str
    error: str = ""
    trace: str = ""
    seconds: float = 0.0
    time: float = field(default_factory=time.time)

    @property
    def key(self) -> Key:
        return (self.workload, self.target, self.machine, self.kit)

    @property
    def point(self) -> str:
        """The knobs as text: equal for equal points."""
        return point_text(self.knobs)

    def to_line(self) -> bytes:
        """The record as one line of JSON."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, separators=(",", ":"), default=list).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes) -> Record | None:
        """The record of a line, or None when the line is damaged or of another schema."""
        try:
            content = json.loads(line)
        except ValueError:
            return None
        names = {f.name for f in fields(Record)}
        if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA or set(content) != names:
            return None
        cost = content["cost"]
        if not isinstance(content["knobs"], dict) or not (cost is None or isinstance(cost, int | float)):
            return None
        return Record(**content)


def point_text(knobs: Mapping[str, Any]) -> str:
    """Knobs as canonical text."""
    return json.dumps(dict(knobs), sort_keys=True, default=list)


class Database:
    """The records of a file, and of what other processes add to it (:meth:`refresh`).

    Args:
        path: the file; created at the first append.

    Raises DatabaseError when the file exists and cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damaged = 0
        self._records: list[Record] = []
        self._points: dict[tuple[Key, str], Record] = {}
        self._read_to = 0
        self.refresh()

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def refresh(self) -> int:
        """Read what was appended since; returns how many records that was."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._read_to)
                content = stream.read()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise DatabaseError(f"cannot read {self.path}: {error.strerror or error}") from error
        end = content.rfind(b"\n") + 1  # a line without its end is still being written, or was never finished
        self._read_to += end
        before = len(self._records)
        for line in content[:end].splitlines():
            record = Record.from_line(line)
            if record is not None:
                self._keep(record)
            elif line.strip():
                self.damaged += 1
        if before == 0 and self.damaged and not self._records:
            raise DatabaseError(f"{self.path} is not a tuning database: it holds no record of schema {SCHEMA}")
        return len(self._records) - before

    def _keep(self, record: Record) -> None:
        self._records.append(record)
        known = self._points.get((record.key, record.point))
        # A success outweighs a failure: a time-out on a busy machine says nothing about the point.
        if known is None or known.cost is None or record.cost is not None:
            self._points[record.key, record.point] = record

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise DatabaseError(f"cannot write {self.path}: {error.strerror or error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)  # and with it the lock

    def append(self, records: Iterable[Record], *, new_only: bool = False) -> None:
        """Append records: all of them or, when the disk is full, none.

        ``new_only``: leave out what somebody else has measured meanwhile (a success outweighs a failure).
        Raises DatabaseError when they cannot be written; the file is as before then.
        """
        records = list(records)
        if not records:
            return
        with self._locked() as descriptor:
            if new_only:
                self.refresh()
                known = [self._points.get((record.key, record.point)) for record in records]
                records = [
                    record
                    for record, there in zip(records, known, strict=True)
                    if there is None or (there.cost is None and record.cost is not None)
                ]
            data = b"".join(record.to_line() for record in records)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            except OSError as error:
                os.ftruncate(descriptor, size)
                raise DatabaseError(f"cannot write {self.path}: {error.strerror or error}") from error
        self.refresh()

    # ------------------------------------------------------------------ asking

    def find(self, key: Key, knobs: Mapping[str, Any]) -> Record | None:
        """The measurement of one point (a success if there is one)."""
        return self._points.get((key, point_text(knobs)))

    def query(self, workload: str | None = None, target: str | None = None, machine: str | None = None,
              kit: str | None = None) -> list[Record]:  # fmt: skip
        """The records that agree with what is given, one a point."""
        wanted = (workload, target, machine, kit)
        return [
            record
            for (key, _), record in self._points.items()
            if all(want is None or want == have for want, have in zip(wanted, key, strict=True))
        ]

    def best(self, key: Key) -> Record | None:
        """The cheapest measured point of a workload on a machine, by one version; the first measured of equal ones."""
        found = [r for r in self.query(*key) if r.cost is not None and math.isfinite(r.cost)]
        return min(found, key=lambda r: (r.cost, r.time), default=None)

    def of_other_versions(self, key: Key) -> list[Record]:
        """What was measured of the same on the same machine by other versions: no longer valid, worth a try first."""
        *same, version = key
        return [record for record in self.query(*same) if record.kit != version]

    def merge(self, other: Database) -> int:
        """Append the records that only ``other`` has; returns how many."""
        have = {(r.key, r.point, r.cost, r.error, r.time) for r in self._records}
        new = [r for r in other if (r.key, r.point, r.cost, r.error, r.time) not in have]
        self.append(new)
        return len(new)
