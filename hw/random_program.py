"""Seeded random legal programs, for comparing simulators and RTL with each other.

Every program is race-free (its tokens come from hw.dependence), reads no SRAM that it has not written, and
keeps to small windows of each buffer and of DRAM, so that hazards and dependences are frequent.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from hw import isa
from hw.dependence import insert_tokens
from hw.footprint import UopShadow

if TYPE_CHECKING:
    from hw.config import Config

UOPS = 0x1000
"""Address of the micro-ops in the image."""
CONSTANTS = 0x1F40
"""Address of constants (loaded into inp, wgt and aux, never stored to); they cross a 4 KB boundary."""
CONSTANT_BYTES = 0xC00
DATA = 0x2F00
"""Address of the data that the program loads and stores."""
DATA_BYTES = 0x1800
UOP_SETS = 8
"""Different groups of micro-ops in the image."""
PARAM_SAFE = 192
"""Bytes below this keep a parameter's shift (its upper six bits) within 0..47 at any alignment."""


@dataclass(frozen=True)
class RandomProgram:
    """A program and the DRAM image (uint8) that holds it, its micro-ops and its data."""

    program: list[isa.Instruction]
    memory: np.ndarray
    program_address: int
    data_address: int = DATA
    data_bytes: int = DATA_BYTES


def random_instruction(rng: np.random.Generator, cfg: Config, kind: type | None = None) -> Any:
    """An instruction (or Uop) whose fields hold any values that fit: it encodes, but need not be legal to run."""
    if kind is None:
        kind = isa.INSTRUCTIONS[int(rng.integers(len(isa.INSTRUCTIONS)))]
    layout = isa.uop_fields(cfg) if kind is isa.Uop else isa.fields(isa.Opcode[kind.__name__.upper()], cfg)[1:]
    values: dict[str, Any] = {}
    for f in layout:
        if f.kind is not None and issubclass(f.kind, IntEnum):
            values[f.name] = list(f.kind)[int(rng.integers(len(f.kind)))]
        else:
            value = int(rng.integers(1 << f.width))
            value = (0, (1 << f.width) - 1, value, value)[int(rng.integers(4))]
            values[f.name] = bool(value) if f.kind is bool else value - ((value >> (f.width - 1)) << f.width) * f.signed
    return kind(**values)


def random_program(rng: np.random.Generator, cfg: Config, n: int, *, tokens: bool = True) -> RandomProgram:
    """A random program of about n instructions after its initialisation of the buffers.

    Without ``tokens`` the program carries none: legal only when run in order.
    """
    maker = _Maker(rng, cfg)
    maker.initialise()
    for _ in range(n):
        maker.step()
    program = insert_tokens(maker.program, cfg, maker.memory) if tokens else maker.program
    encoded = isa.encode_program(program, cfg)
    end = -(-(maker.memory.size + encoded.size) // 4096) * 4096
    memory = np.zeros(end + 4096, np.uint8)
    memory[: maker.memory.size] = maker.memory
    # An address that is no multiple of 4 KB, so that bursts of instructions meet the boundary.
    at = maker.memory.size + max(cfg.bus_bytes, cfg.instruction_bytes)
    memory[at : at + encoded.size] = encoded
    return RandomProgram(program, memory, at)


class _Maker:
    def __init__(self, rng: np.random.Generator, cfg: Config) -> None:
        self._rng, self._cfg = rng, cfg
        self.program: list[isa.Instruction] = []
        self.memory = rng.integers(0, 256, 0x5000).astype(np.uint8)
        self.memory[CONSTANTS : CONSTANTS + CONSTANT_BYTES] %= PARAM_SAFE
        self._window: dict[str, tuple[int, int]] = {}  # space -> first vector, vectors
        for space in ("inp", "wgt", "acc", "out", "aux"):
            depth = getattr(cfg, f"{space}_depth")
            size = min(depth, 3 * cfg.param_vectors + 8 if space == "aux" else 24)
            self._window[space] = (int(rng.integers(depth - size + 1)), size)
        self._uops = UopShadow(cfg, self.memory)
        self._uop_set = min(8, cfg.uop_depth // 2)
        self._loaded: list[int] = []  # first micro-op of each group in the buffer
        self._write_uops()

    def _write_uops(self) -> None:
        """Groups of micro-ops with small fields; the very first overwrites and is 0 throughout."""
        reach = {s: max(1, size // 2) for s, (_, size) in self._window.items()}
        src = min(reach["inp"], reach["acc"], max(1, reach["aux"] - self._cfg.param_vectors))
        uops = [isa.Uop(overwrite=True)]
        while len(uops) < UOP_SETS * self._uop_set:
            dst, wgt = int(self._rng.integers(min(reach["acc"], reach["out"]))), int(self._rng.integers(reach["wgt"]))
            overwrite = bool(self._rng.random() < 0.3)
            uops.append(isa.Uop(overwrite=overwrite, dst=dst, src=int(self._rng.integers(src)), wgt=wgt))
        data = isa.encode_uops(uops, self._cfg)
        self.memory[UOPS : UOPS + data.size] = data

    def initialise(self) -> None:
        """Give every window defined contents."""
        self._load_uops(0, 0)
        for buffer in (isa.Buffer.INP, isa.Buffer.WGT, isa.Buffer.AUX):
            low, size = self._bytes(buffer.name.lower())
            self.program.append(isa.Load(buffer=buffer, fill=True, value=self._int(0, 127), sram=low, seg=size))
        acc, out = self._window["acc"], self._window["out"]
        common: dict[str, Any] = {"op": isa.AluOp.ADD, "source": isa.AluSource.IMM, "dst_in": 1}
        self.program.append(isa.Alu(imm=self._int(-999, 999), iter_in=acc[1], dst_base=acc[0], **common))
        done = 0
        while done < out[1]:
            part = min(acc[1], out[1] - done)
            base = {"dst_base": acc[0], "out_base": out[0] + done}
            self.program.append(isa.Alu(imm=self._int(-99, 99), iter_in=part, to_out=True, **base, **common))
            done += part

    def step(self) -> None:
        """Append one random instruction."""
        kinds = (
            (self._load, 0.26), (self._fill, 0.06), (self._reload, 0.06), (self._gemm, 0.25), (self._alu, 0.16),
            (self._requant, 0.07), (self._store, 0.12), (isa.Sync, 0.02),
        )  # fmt: skip
        at = int(self._rng.choice(len(kinds), p=[share for _, share in kinds]))
        self.program.append(kinds[at][0]())

    # ---- transfers ------------------------------------------------------------------------------------------

    def _load(self) -> isa.Load:
        buffer = (isa.Buffer.INP, isa.Buffer.WGT, isa.Buffer.AUX)[self._int(0, 2)]
        constant = buffer == isa.Buffer.AUX or self._rng.random() < 0.3
        region = (CONSTANTS, CONSTANT_BYTES) if constant else (DATA, DATA_BYTES)
        return isa.Load(buffer=buffer, **self._transfer(buffer.name.lower(), region))

    def _fill(self) -> isa.Load:
        buffer = (isa.Buffer.INP, isa.Buffer.WGT, isa.Buffer.AUX)[self._int(0, 2)]
        fields = self._transfer(buffer.name.lower(), (0, 1 << 20))
        fields = {k: v for k, v in fields.items() if "dram" not in k}
        return isa.Load(buffer=buffer, fill=True, value=self._int(0, PARAM_SAFE - 1), **fields)

    def _store(self) -> isa.Store:
        return isa.Store(**self._transfer("out", (DATA, DATA_BYTES)))

    def _reload(self) -> isa.Load:
        slots = max(1, min(4, self._cfg.uop_depth // self._uop_set))
        return self._load_uops(self._int(0, UOP_SETS - 1), self._int(0, slots - 1) * self._uop_set, append=False)

    def _load_uops(self, group: int, first: int, append: bool = True) -> isa.Load:
        size = self._uop_set * self._cfg.uop_bytes
        at = first * self._cfg.uop_bytes
        load = isa.Load(buffer=isa.Buffer.UOP, dram=UOPS + group * size, sram=at, seg=size)
        self._uops.load(load)
        self._loaded = sorted({*self._loaded, first})
        if append:
            self.program.append(load)
        return load

    def _transfer(self, space: str, region: tuple[int, int]) -> dict[str, Any]:
        """Fields of a transfer between a buffer's window and a region of DRAM, in one of a few shapes."""
        low, size = self._bytes(space)
        shape = self._int(0, 3)
        x_size, y_size = self._int(1, 5), self._int(1, 4)
        if shape == 0:  # one long run
            x_size, y_size, seg = 1, 1, self._int(1, min(size, region[1]))
        elif shape == 1:  # whole vectors
            seg = min(size, region[1], getattr(self._cfg, f"{space}_vector_bytes"))
        else:
            seg = self._int(1, min(size, region[1], 40))
        x_sram = seg if self._rng.random() < 0.5 else self._int(0, 2 * seg)
        x_dram = seg if self._rng.random() < 0.5 else self._int(0, 3 * seg)
        y_sram, y_dram = self._int(0, x_size * seg + 8), self._int(0, x_size * seg + 90)
        widest = (1 << self._cfg.sram_address_bits) - 1
        x_sram, y_sram = min(x_sram, widest), min(y_sram, widest)
        while (y_size - 1) * y_sram + (x_size - 1) * x_sram + seg > size or (
            (y_size - 1) * y_dram + (x_size - 1) * x_dram + seg > region[1]
        ):
            x_size, y_size = (x_size, y_size - 1) if y_size > 1 else (x_size - 1, 1)
        sram = low + self._int(0, size - ((y_size - 1) * y_sram + (x_size - 1) * x_sram + seg))
        dram = region[0] + self._int(0, region[1] - ((y_size - 1) * y_dram + (x_size - 1) * x_dram + seg))
        return {
            "sram": sram, "dram": dram, "seg": seg, "x_size": x_size, "x_dram": x_dram, "x_sram": x_sram,
            "y_size": y_size, "y_dram": y_dram, "y_sram": y_sram,
        }  # fmt: skip

    # ---- compute --------------------------------------------------------------------------------------------

    def _loops(self) -> dict[str, Any]:
        begin = self._loaded[self._int(0, len(self._loaded) - 1)]
        first = self._int(0, self._uop_set - 1)
        return {
            "uop_begin": begin + first,
            "uop_count": self._int(1, self._uop_set - first),
            "iter_out": self._int(1, 4),
            "iter_in": self._int(1, 9) if self._rng.random() < 0.3 else self._int(1, 3),
        }

    def _operand(self, space: str, operand: str, loops: dict[str, Any], extra: int = 0) -> tuple[int, int, int]:
        """Base and steps that keep an operand inside its window."""
        bounds = self._uops.bounds(loops["uop_begin"], loops["uop_count"])
        assert bounds is not None  # the image is known
        low, high = bounds[operand]
        first, size = self._window[space]
        widest = min(3, getattr(self._cfg, f"{space}_depth") - 1)
        outer, inner = self._int(0, widest), self._int(0, widest)
        while True:
            reach = high + extra + (loops["iter_out"] - 1) * outer + (loops["iter_in"] - 1) * inner
            if reach - low < size and reach < first + size:
                break
            outer, inner = outer // 2, inner // 2
        return self._int(max(0, first - low), first + size - 1 - reach), outer, inner

    def _gemm(self) -> isa.Gemm:
        loops = self._loops()
        dst, src = self._operand("acc", "dst", loops), self._operand("inp", "src", loops)
        wgt = self._operand("wgt", "wgt", loops)
        return isa.Gemm(
            **loops, dst_base=dst[0], dst_out=dst[1], dst_in=dst[2], src_base=src[0], src_out=src[1], src_in=src[2],
            wgt_base=wgt[0], wgt_out=wgt[1], wgt_in=wgt[2],
        )  # fmt: skip

    def _alu(self) -> isa.Alu:
        loops = self._loops()
        op = isa.AluOp(self._int(0, len(isa.AluOp) - 1))
        source = isa.AluSource(self._int(1 if op == isa.AluOp.MULADD else 0, 2))
        fields: dict[str, Any] = {"imm": self._int(-(1 << 17), (1 << 17) - 1), "shift": self._int(0, 31)}
        if self._rng.random() < 0.5:
            fields["imm"] = self._int(-8, 8)
        if source != isa.AluSource.IMM:
            src = self._operand(source.name.lower(), "src", loops)
            fields |= {"src_base": src[0], "src_out": src[1], "src_in": src[2]}
        return isa.Alu(op=op, source=source, **fields, **loops, **self._target(loops))

    def _requant(self) -> isa.Requant:
        loops = self._loops()
        low, high = sorted((self._int(-512, 511), self._int(-512, 511)))
        base, _, _ = self._operand("aux", "src", loops | {"iter_out": 1, "iter_in": 1}, self._cfg.param_vectors - 1)
        return isa.Requant(
            zero_point=self._int(-128, 127), low=low, high=high, src_base=base, **loops, **self._target(loops)
        )

    def _target(self, loops: dict[str, Any]) -> dict[str, Any]:
        """Destination fields: the accumulators, or the output buffer."""
        dst = self._operand("acc", "dst", loops)
        if self._rng.random() < 0.6:
            return {"dst_base": dst[0], "dst_out": dst[1], "dst_in": dst[2]}
        # Both windows must hold the same walk: take the steps of the one whose walk is shorter.
        out = self._operand("out", "dst", loops)
        steps = dst[1:] if dst[1] + dst[2] <= out[1] + out[2] else out[1:]
        acc_base, out_base = (self._rebase(s, steps, loops) for s in ("acc", "out"))
        if acc_base is None or out_base is None:
            steps = (0, 0)
            acc_base, out_base = (self._rebase(s, steps, loops) for s in ("acc", "out"))
        return {"to_out": True, "dst_base": acc_base, "out_base": out_base, "dst_out": steps[0], "dst_in": steps[1]}

    def _rebase(self, space: str, steps: tuple[int, ...], loops: dict[str, Any]) -> int | None:
        bounds = self._uops.bounds(loops["uop_begin"], loops["uop_count"])
        assert bounds is not None
        low, high = bounds["dst"]
        first, size = self._window[space]
        reach = high + (loops["iter_out"] - 1) * steps[0] + (loops["iter_in"] - 1) * steps[1]
        if reach - low >= size:
            return None
        return self._int(max(0, first - low), first + size - 1 - reach) if first + size - 1 >= reach else None

    # ---- helpers --------------------------------------------------------------------------------------------

    def _bytes(self, space: str) -> tuple[int, int]:
        size = getattr(self._cfg, f"{space}_vector_bytes")
        first, count = self._window[space]
        return first * size, count * size

    def _int(self, low: int, high: int) -> int:
        """A random whole number, low and high included."""
        return int(self._rng.integers(low, high + 1))


def without_tokens(program: list[isa.Instruction]) -> list[isa.Instruction]:
    """The program with all token flags cleared."""
    return [dataclasses.replace(i, **dict.fromkeys(isa.FLAGS, False)) for i in program]
