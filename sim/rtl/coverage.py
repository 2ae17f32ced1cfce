"""What a comparison has exercised: crosses of opcode, token flag, hazard and cause, and of the cases of fields."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from hw.config import Config
from hw.isa import FLAGS, AluOp, AluSource, Buffer, Opcode, Unit
from hw.timing import CAUSES
from sim.cycle.result import CycleResult
from sim.program import F

Point = tuple[str, ...]

_WAITS = ("fetch", "wait_load", "wait_store", "decode")
_OF_OPCODE = {
    Opcode.GEMM: ("gemm", "switch", "hazard", *_WAITS),
    Opcode.ALU: ("alu", "switch", "hazard", *_WAITS),
    Opcode.REQUANT: ("requant", "param", "switch", "hazard", *_WAITS),
    Opcode.SYNC: _WAITS,
}
"""The causes that an instruction of the compute unit can have cycles of."""
_OWN = {Opcode.GEMM: "gemm", Opcode.ALU: "alu", Opcode.REQUANT: "requant"}
"""The cause that every instruction of the opcode has cycles of."""
_SHAPES = ("unaligned", "rows", "segments", "whole rows", "page")
_MACHINES = (
    "bus 32", "bus 64", "bus 128", "axi3", "axi4", "square blocks", "wide blocks", "tall blocks", "batch 1",
    "batch over 1", "odd buffers",
)  # fmt: skip

AXES: dict[str, tuple[tuple[str, ...], ...]] = {
    "flag": (tuple(o.name for o in Opcode), FLAGS),
    "cause": (tuple(o.name for o in Opcode), FLAGS, CAUSES),
    "hazard": (tuple(o.name for o in _OWN), FLAGS, ("free", "hazard"), CAUSES),
    "vector": ((*(op.name for op in AluOp), "REQUANT"), tuple(s.name for s in AluSource), ("acc", "out")),
    "transfer": (("LOAD", "STORE"), _SHAPES),
    "buffer": (tuple(b.name for b in Buffer), ("copy", "fill")),
    "machine": (_MACHINES,),
}
"""The groups of points and what each crosses: `cause` has an instruction's flag and a cause it had cycles of, `hazard`
also whether it had to wait for an accumulator, `machine` counts the runs on machines of a kind."""


class Coverage:
    """Counts how often each point was met. A point is a group's name followed by one name of each of its axes."""

    def __init__(self) -> None:
        self._counts = {group: np.zeros([len(axis) for axis in axes], np.int64) for group, axes in AXES.items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Coverage:
        """The inverse of to_dict."""
        coverage = cls()
        for group, counts in coverage._counts.items():
            counts.flat[:] = data[group]
        return coverage

    def to_dict(self) -> dict[str, list[int]]:
        """The counts of each group, its axes flattened."""
        return {group: counts.reshape(-1).tolist() for group, counts in self._counts.items()}

    def add(self, result: CycleResult) -> None:
        """Count what one run has met."""
        program = result.program
        opcode = program.column(F.OPCODE)
        is_op = opcode[:, None] == np.array(list(Opcode))
        flags = program.table[:, [F[name.upper()] for name in FLAGS]] != 0
        met = result.causes > 0
        flagged = (is_op[:, :, None] & flags[:, None, :]).astype(np.int64)
        self._counts["flag"] += flagged.sum(axis=0)
        self._counts["cause"] += np.einsum("nof,nc->ofc", flagged, met.astype(np.int64))
        hazard = met[:, CAUSES.index("hazard")]
        with_hazard = np.stack([~hazard, hazard], axis=1)[:, :, None] & met[:, None, :]
        owned = [list(Opcode).index(op) for op in _OWN]
        self._counts["hazard"] += np.einsum("nof,nhc->ofhc", flagged[:, owned], with_hazard.astype(np.int64))
        self._add_vector(result)
        self._add_transfers(result)
        self._counts["machine"] += _kinds(result.cfg)

    def update(self, other: Coverage) -> None:
        """Add what another comparison has met."""
        for group, counts in self._counts.items():
            counts += other._counts[group]

    def hits(self, point: Point) -> int:
        """How often a point was met."""
        axes = AXES[point[0]]
        return int(self._counts[point[0]][tuple(axis.index(name) for axis, name in zip(axes, point[1:], strict=True))])

    @property
    def missing(self) -> list[Point]:
        """Points that were never met."""
        return [point for point in points() if not self.hits(point)]

    @property
    def groups(self) -> dict[str, tuple[int, int]]:
        """Points met and points there are, by group."""
        found = {group: [0, 0] for group in AXES}
        for point in points():
            found[point[0]][0] += self.hits(point) > 0
            found[point[0]][1] += 1
        return {group: (met, of) for group, (met, of) in found.items()}

    def __str__(self) -> str:
        lines = [
            f"coverage {group} ({' x '.join(str(len(axis)) for axis in AXES[group])}): {met} of {of} legal points"
            for group, (met, of) in self.groups.items()
        ]
        return "\n".join(lines + [f"never met: {' x '.join(point)}" for point in self.missing])

    def _add_vector(self, result: CycleResult) -> None:
        program = result.program
        opcode = program.column(F.OPCODE)
        requant = opcode == Opcode.REQUANT
        mine = requant | (opcode == Opcode.ALU)
        op = np.where(requant, len(AluOp), program.column(F.OP))[mine]
        source = np.where(requant, int(AluSource.AUX), program.column(F.SOURCE))[mine]
        np.add.at(self._counts["vector"], (op, source, (program.column(F.TO_OUT) != 0)[mine].astype(np.int64)), 1)

    def _add_transfers(self, result: CycleResult) -> None:
        program, bus = result.program, result.cfg.bus_bytes
        opcode, fill = program.column(F.OPCODE), program.column(F.FILL) != 0
        load = opcode == Opcode.LOAD
        dram, seg, x_size, x_dram = (program.column(f) for f in (F.DRAM, F.SEG, F.X_SIZE, F.X_DRAM))
        end = dram + (program.column(F.Y_SIZE) - 1) * program.column(F.Y_DRAM) + (x_size - 1) * x_dram + seg
        shapes = np.stack(
            [
                dram % bus != 0,
                program.column(F.Y_SIZE) > 1,
                (x_size > 1) & (x_dram != seg),
                (x_size > 1) & (x_dram == seg),
                dram // 4096 != (end - 1) // 4096,
            ]
        )
        for index, where in enumerate((load & ~fill, opcode == Opcode.STORE)):
            self._counts["transfer"][index] += np.count_nonzero(shapes & where, axis=1)
        np.add.at(self._counts["buffer"], (program.column(F.BUFFER)[load], fill[load].astype(np.int64)), 1)


def _kinds(cfg: Config) -> np.ndarray:
    """Which of _MACHINES a machine is."""
    depths = [getattr(cfg, f"{b}_depth") for b in ("inp", "wgt", "acc", "aux", "out", "uop")]
    kinds = {
        f"bus {cfg.bus_bits}",
        cfg.axi,
        ("square", "wide", "tall")[(cfg.block_in < cfg.block_out) + 2 * (cfg.block_in > cfg.block_out)] + " blocks",
        "batch 1" if cfg.batch == 1 else "batch over 1",
        "odd buffers" if any(depth & (depth - 1) for depth in depths) else "",
    }
    return np.array([name in kinds for name in _MACHINES], np.int64)


def points() -> Iterator[Point]:
    """All points that a legal program can meet."""
    for group, axes in AXES.items():
        for names in product(*axes):
            if _LEGAL.get(group, lambda *_: True)(*names):
                yield group, *names


def _flag_is_legal(opcode: str, flag: str) -> bool:
    """Whether the opcode's unit has a neighbour for the flag."""
    unit = {Opcode.LOAD.name: Unit.LOAD, Opcode.STORE.name: Unit.STORE}.get(opcode, Unit.COMPUTE)
    return not (unit == Unit.LOAD and "prev" in flag) and not (unit == Unit.STORE and "next" in flag)


def _cause_is_legal(opcode: str, flag: str, cause: str) -> bool:
    """Whether such an instruction can have cycles of the cause."""
    # One waits for a token only if one is popped.
    own = {"wait_load": "pop_prev", "wait_store": "pop_next"}.get(cause, flag)
    return cause in _OF_OPCODE.get(Opcode[opcode], ()) and (own == flag or not flag.startswith("pop"))


def _hazard_is_legal(opcode: str, flag: str, hazard: str, cause: str) -> bool:
    """That every instruction has cycles of its own cause, and one with a hazard of that, says nothing new."""
    return cause not in ("hazard", _OWN[Opcode[opcode]]) and _cause_is_legal(opcode, flag, cause)


_LEGAL = {
    "flag": _flag_is_legal,
    "cause": _cause_is_legal,
    "hazard": _hazard_is_legal,
    "vector": lambda op, source, target: (
        source == "AUX" if op == "REQUANT" else (op, source) != (AluOp.MULADD.name, AluSource.IMM.name)
    ),
    "buffer": lambda buffer, kind: (buffer, kind) != (Buffer.UOP.name, "fill"),
}
"""Which combinations of a group are possible; all of a group that is not here."""
