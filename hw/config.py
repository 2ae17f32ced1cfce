"""The machine's parameters: one frozen dataclass, loaded from YAML, from which every width is derived.

``Config.load("pynq-z1")`` reads ``boards/pynq-z1.yaml``; a path loads any other file.  An illegal
combination is refused when it is built, with the field, the reason and a legal neighbour.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from hw import isa
from hw.config_checks import check_choice, check_known, check_range, check_types, did_you_mean, take_section
from hw.errors import ConfigError

BOARDS = Path(__file__).resolve().parent.parent / "boards"
"""Folder of the board files; a sibling of this package both in a checkout and when installed."""


def _p(default: Any, doc: str, *, hardware: bool = True) -> Any:
    """A parameter with its documentation; ``hardware`` says that it shapes the machine (fingerprint)."""
    return field(default=default, metadata={"doc": doc, "hardware": hardware})


@dataclass(frozen=True)
class MemoryConfig:
    """The memory the machine is attached to: environment, not hardware; latencies in clock cycles."""

    read_latency: int = _p(28, "cycles from an accepted read address to the first beat, at least", hardware=False)
    write_latency: int = _p(16, "cycles from a burst's last write beat to its response, at least", hardware=False)
    read_outstanding: int = _p(8, "read bursts accepted and not yet delivered, at most", hardware=False)
    write_outstanding: int = _p(8, "write bursts issued and not yet answered, at most", hardware=False)
    stall_seed: int | None = _p(None, "seed of the stall profile; none: the memory never stalls", hardware=False)
    stall_rate: float = _p(0.0, "share of beats delayed by the stall profile, 0 <= rate < 1", hardware=False)

    def __post_init__(self) -> None:
        check_types(self, "memory")
        for name in ("read_latency", "write_latency", "read_outstanding", "write_outstanding"):
            check_range(self, "memory", name, 1, 65535 if name.endswith("latency") else 256)
        if not 0.0 <= self.stall_rate < 1.0:
            raise ConfigError("memory.stall_rate", f"{self.stall_rate} is not in [0, 1)", "try 0.1")
        if self.stall_seed is not None and not 0 <= self.stall_seed < 2**32:
            raise ConfigError("memory.stall_seed", f"{self.stall_seed} is not an unsigned 32-bit number", "try 1")
        if self.stall_rate > 0 and self.stall_seed is None:
            raise ConfigError("memory.stall_seed", "stall_rate needs a seed", "try memory.stall_seed=1")


@dataclass(frozen=True)
class Config:
    """Parameters of one VDLA machine.  Buffer sizes are in bytes, queues in instructions."""

    name: str = _p("vdla", "name of the configuration", hardware=False)
    batch: int = _p(1, "rows of the input operand: 1, 2, 4 or 8")
    block_in: int = _p(16, "input channels of one operation: power of two, 4..64")
    block_out: int = _p(16, "output channels of one operation: power of two, 4..64")
    inp_bits: int = _p(8, "bits of an input element")
    wgt_bits: int = _p(8, "bits of a weight element")
    out_bits: int = _p(8, "bits of an output element")
    acc_bits: int = _p(32, "bits of an accumulator")
    uop_buffer: int = _p(32768, "micro-op buffer, bytes")
    inp_buffer: int = _p(32768, "input buffer, bytes")
    wgt_buffer: int = _p(32768, "weight buffer, bytes")
    acc_buffer: int = _p(131072, "accumulator buffer, bytes")
    out_buffer: int = _p(32768, "output buffer, bytes")
    aux_buffer: int = _p(32768, "auxiliary buffer (requantisation parameters, residuals), bytes")
    load_queue: int = _p(32, "command queue of the load unit, instructions")
    compute_queue: int = _p(32, "command queue of the compute unit, instructions")
    store_queue: int = _p(32, "command queue of the store unit, instructions")
    token_depth: int = _p(63, "tokens each of the four dependency counters can hold")
    bus_bits: int = _p(64, "width of the memory port: power of two, 32..512")
    axi: str = _p("axi3", "protocol of the memory port: axi3 or axi4")
    burst_beats: int = _p(16, "longest burst, beats: <= 16 on axi3, <= 256 on axi4")
    instruction_bits: int = _p(256, "bits of an instruction word: 128, 256 or 512")
    clock_mhz: float = _p(100.0, "clock, MHz (turns cycles into time; changes no cycle)", hardware=False)
    memory: MemoryConfig = field(default_factory=MemoryConfig, metadata={"doc": "environment", "hardware": False})

    # ---- construction -------------------------------------------------------------------------------------

    def __post_init__(self) -> None:
        check_types(self, "vdla")
        self.validate()

    @classmethod
    def load(cls, name_or_path: str | Path) -> Config:
        """Configuration from a board's name (``pynq-z1``) or a YAML file's path.

        Raises ConfigError when there is no such board or file, or the file is not a legal configuration.
        """
        return cls.from_dict(read_yaml(name_or_path))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Config:
        """Configuration from ``{"name": ..., "vdla": {...}, "memory": {...}}`` (the layout of a board file).

        A ``board`` section (facts about the board) is permitted and not read here.
        """
        check_known(data, ("name", "board", "vdla", "memory"), "")
        vdla = take_section(data, "vdla", hardware_fields() + ("clock_mhz",))
        memory = take_section(data, "memory", memory_fields())
        return cls(name=str(data.get("name", "vdla")), memory=MemoryConfig(**memory), **vdla)

    def to_dict(self) -> dict[str, Any]:
        """The inverse of :meth:`from_dict`, of plain Python values."""
        vdla = {n: getattr(self, n) for n in hardware_fields() + ("clock_mhz",)}
        return {"name": self.name, "vdla": vdla, "memory": dataclasses.asdict(self.memory)}

    def with_(self, **changes: Any) -> Config:
        """A copy with some parameters changed: ``cfg.with_(block_out=32)``.

        Raises ConfigError for an unknown parameter or an illegal result.
        """
        check_known(changes, tuple(f.name for f in dataclasses.fields(self)), "vdla.")
        return dataclasses.replace(self, **changes)

    def override(self, settings: Iterable[str]) -> Config:
        """A copy with ``--set`` settings applied, all at once: ``["vdla.block_out=32", "memory.read_latency=40"]``.

        Raises ConfigError for a malformed setting, an unknown key (naming the nearest one) or an illegal value.
        """
        data = self.to_dict()
        keys = [f"vdla.{n}" for n in data["vdla"]] + [f"memory.{n}" for n in data["memory"]]
        for setting in settings:
            key, equals, text = setting.partition("=")
            key = key.strip()
            if not equals:
                raise ConfigError(setting, "not of the form key=value", "for example vdla.block_out=32")
            if key not in keys:
                raise ConfigError(key, "no such parameter", did_you_mean(key, keys))
            section, name = key.split(".")
            try:
                data[section][name] = yaml.safe_load(text)
            except yaml.YAMLError:
                raise ConfigError(key, f"'{text}' is not a value", "give a number or a word") from None
        return Config.from_dict(data)

    # ---- identity -----------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the parameters that shape the hardware (not name, clock or memory)."""
        values = {n: getattr(self, n) for n in sorted(hardware_fields())}
        text = json.dumps({"isa": isa.ISA_VERSION, **values}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # ---- derived: bytes and depths -------------------------------------------------------------------------

    @cached_property
    def inp_vector_bytes(self) -> int:
        """Bytes of one input vector, [batch][block_in] int8."""
        return self.batch * self.block_in * self.inp_bits // 8

    @cached_property
    def wgt_vector_bytes(self) -> int:
        """Bytes of one weight tile, [block_out][block_in] int8."""
        return self.block_out * self.block_in * self.wgt_bits // 8

    @cached_property
    def acc_vector_bytes(self) -> int:
        """Bytes of one accumulator vector, [batch][block_out] int32."""
        return self.batch * self.block_out * self.acc_bits // 8

    @cached_property
    def out_vector_bytes(self) -> int:
        """Bytes of one output vector, [batch][block_out] int8."""
        return self.batch * self.block_out * self.out_bits // 8

    @cached_property
    def aux_vector_bytes(self) -> int:
        """Bytes of one auxiliary vector, [batch][block_out] int8."""
        return self.batch * self.block_out * self.out_bits // 8

    @cached_property
    def param_bytes(self) -> int:
        """Bytes of one requantisation entry: block_out lanes of int32 bias and int32 mult|shift."""
        return 8 * self.block_out

    @cached_property
    def param_vectors(self) -> int:
        """Auxiliary vectors that one requantisation entry occupies."""
        return -(-self.param_bytes // self.aux_vector_bytes)

    @cached_property
    def uop_bytes(self) -> int:
        """Bytes of one micro-op word: 4, or 8 where its fields need more than 32 bits."""
        return 4 if isa.uop_bits(self) <= 32 else 8

    @property
    def uop_vector_bytes(self) -> int:
        """The same as uop_bytes, named like the other buffers' vectors."""
        return self.uop_bytes

    @cached_property
    def inp_depth(self) -> int:
        """Vectors in the input buffer."""
        return self.inp_buffer // self.inp_vector_bytes

    @cached_property
    def wgt_depth(self) -> int:
        """Tiles in the weight buffer."""
        return self.wgt_buffer // self.wgt_vector_bytes

    @cached_property
    def acc_depth(self) -> int:
        """Vectors in the accumulator buffer."""
        return self.acc_buffer // self.acc_vector_bytes

    @cached_property
    def out_depth(self) -> int:
        """Vectors in the output buffer."""
        return self.out_buffer // self.out_vector_bytes

    @cached_property
    def aux_depth(self) -> int:
        """Vectors in the auxiliary buffer."""
        return self.aux_buffer // self.aux_vector_bytes

    @cached_property
    def uop_depth(self) -> int:
        """Micro-ops in the micro-op buffer."""
        return self.uop_buffer // self.uop_bytes

    @cached_property
    def bus_bytes(self) -> int:
        """Bytes of one memory beat."""
        return self.bus_bits // 8

    @cached_property
    def instruction_bytes(self) -> int:
        """Bytes of one instruction in DRAM."""
        return self.instruction_bits // 8

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates of one GEMM operation."""
        return self.batch * self.block_in * self.block_out

    # ---- derived: field widths, bits -----------------------------------------------------------------------

    @cached_property
    def inp_index_bits(self) -> int:
        """Width of an input vector's index."""
        return _index_bits(self.inp_depth)

    @cached_property
    def wgt_index_bits(self) -> int:
        """Width of a weight tile's index."""
        return _index_bits(self.wgt_depth)

    @cached_property
    def acc_index_bits(self) -> int:
        """Width of an accumulator vector's index."""
        return _index_bits(self.acc_depth)

    @cached_property
    def out_index_bits(self) -> int:
        """Width of an output vector's index."""
        return _index_bits(self.out_depth)

    @cached_property
    def aux_index_bits(self) -> int:
        """Width of an auxiliary vector's index."""
        return _index_bits(self.aux_depth)

    @cached_property
    def vector_src_bits(self) -> int:
        """Width of an ALU or REQUANT source index: accumulator or auxiliary vector."""
        return max(self.acc_index_bits, self.aux_index_bits)

    @cached_property
    def uop_src_bits(self) -> int:
        """Width of a micro-op's source index: input, accumulator or auxiliary vector."""
        return max(self.inp_index_bits, self.vector_src_bits)

    @cached_property
    def uop_index_bits(self) -> int:
        """Width of a micro-op's index."""
        return _index_bits(self.uop_depth)

    @cached_property
    def uop_count_bits(self) -> int:
        """Width of a micro-op count (the whole buffer is a legal count)."""
        return self.uop_depth.bit_length()

    @cached_property
    def sram_address_bits(self) -> int:
        """Width of a byte address in any buffer that load or store reaches."""
        return _index_bits(max(self.uop_buffer, self.inp_buffer, self.wgt_buffer, self.aux_buffer, self.out_buffer))

    @cached_property
    def segment_bits(self) -> int:
        """Width of a segment's length in bytes (a whole buffer is a legal segment)."""
        return self.sram_address_bits + 1

    # ---- legality ------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Refuse an illegal combination.

        Raises ConfigError naming the field, the reason and a legal neighbour.
        """
        check_choice(self, "batch", (1, 2, 4, 8))
        for name in ("block_in", "block_out"):
            check_choice(self, name, (4, 8, 16, 32, 64))
        for name, only in (("inp_bits", 8), ("wgt_bits", 8), ("out_bits", 8), ("acc_bits", 32)):
            check_choice(self, name, (only,))
        check_choice(self, "bus_bits", (32, 64, 128, 256, 512))
        check_choice(self, "instruction_bits", (128, 256, 512))
        if self.axi not in ("axi3", "axi4"):
            raise ConfigError("vdla.axi", f"'{self.axi}' is not a protocol of the memory port", "try axi3 or axi4")
        longest = 16 if self.axi == "axi3" else 256
        if self.burst_beats > longest:
            raise ConfigError(
                "vdla.burst_beats", f"{self.burst_beats} is more than {self.axi} allows", f"try {longest}"
            )
        check_range(self, "vdla", "burst_beats", 1, longest)
        for name in ("load_queue", "compute_queue", "store_queue"):
            check_range(self, "vdla", name, 2, 1024)
        check_range(self, "vdla", "token_depth", 1, 1023)
        if not 1.0 <= self.clock_mhz <= 2000.0:
            raise ConfigError("vdla.clock_mhz", f"{self.clock_mhz} is not in 1..2000 MHz", "try 100")
        for name in ("uop", "inp", "wgt", "acc", "out", "aux"):
            self._validate_buffer(name)
        if self.aux_depth < self.param_vectors:
            legal = self.param_vectors * self.aux_vector_bytes
            raise ConfigError("vdla.aux_buffer", "does not hold one requantisation entry", f"try {legal}")
        total = isa.uop_bits(self)
        if total > 64:
            raise ConfigError(
                "vdla.acc_buffer", f"a micro-op needs {total} bits, more than 64", "halve acc_buffer or wgt_buffer"
            )
        for kind in isa.INSTRUCTIONS:
            layout = isa.fields(kind.OPCODE, self)
            used = layout[-1].offset + layout[-1].width
            if used > self.instruction_bits:
                parts = " + ".join(f"{f.name} {f.width}" for f in layout)
                legal = next((b for b in (128, 256, 512) if b >= used), 0)
                raise ConfigError(
                    "vdla.instruction_bits",
                    f"{kind.__name__.upper()} needs {used} bits, the word has {self.instruction_bits} ({parts})",
                    f"try {legal}" if legal else "halve the buffers",
                )

    def _validate_buffer(self, kind: str) -> None:
        name, size = f"{kind}_buffer", getattr(self, f"{kind}_buffer")
        unit = 8 if kind == "uop" else getattr(self, f"{kind}_vector_bytes")
        least = max(2 * unit, unit * (self.param_vectors if kind == "aux" else 1))
        if size < least:
            raise ConfigError(f"vdla.{name}", f"{size} bytes is less than {least}", f"try {least}")
        if size > 1 << 24:
            raise ConfigError(f"vdla.{name}", f"{size} bytes is more than {1 << 24}", f"try {1 << 24}")
        if size % unit:
            legal = max(least, size // unit * unit)
            raise ConfigError(
                f"vdla.{name}", f"{size} bytes is not a multiple of its {unit}-byte vector", f"try {legal}"
            )


# The processors beside the logic: Zynq-7000, Zynq UltraScale+, Cyclone V SoC.
_HOSTS = {"xc7": "armv7", "xcup": "arm64", "cyclonev": "armv7"}


@dataclass(frozen=True)
class Board:
    """A board file: facts about the board and the machine configured for it."""

    name: str
    facts: Mapping[str, Any]
    config: Config

    @classmethod
    def load(cls, name_or_path: str | Path) -> Board:
        """Board from its name or its file's path.  Raises ConfigError as Config.load does."""
        data = read_yaml(name_or_path)
        config = Config.from_dict(data)
        return cls(config.name, dict(data.get("board") or {}), config)

    @property
    def host(self) -> str:
        """The kind of processor that runs what the machine does not: "armv7" or "arm64".

        The board file's ``board.host``, else that of the family's chips. Raises ConfigError where there is none.
        """
        host = self.facts.get("host") or _HOSTS.get(self.facts.get("family", ""))
        if host is None:
            raise ConfigError("board.host", f"board '{self.name}' has no processor", "name a CPU: cpu, arm64 or armv7")
        return host


def boards() -> list[str]:
    """Names of the boards that come with the kit, sorted."""
    return sorted(p.stem for p in BOARDS.glob("*.yaml"))


def hardware_fields() -> tuple[str, ...]:
    """Names of the parameters that shape the hardware, in declaration order."""
    return tuple(f.name for f in dataclasses.fields(Config) if f.metadata["hardware"])


def memory_fields() -> tuple[str, ...]:
    """Names of the memory parameters, in declaration order."""
    return tuple(f.name for f in dataclasses.fields(MemoryConfig))


def read_yaml(name_or_path: str | Path) -> dict[str, Any]:
    """The mapping in a board file, by the board's name or the file's path.  Raises ConfigError."""
    path = Path(name_or_path)
    board = BOARDS / f"{name_or_path}.yaml"
    if len(path.parts) == 1 and not path.suffix and board.is_file():
        path = board
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        known = boards()
        hint = did_you_mean(str(name_or_path), known)
        raise ConfigError(str(name_or_path), f"cannot read this configuration ({reason})", hint) from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise ConfigError(str(path), f"not YAML ({where})", "see boards/pynq-z1.yaml for an example") from None
    if not isinstance(data, dict):
        raise ConfigError(str(path), "not a mapping of sections", "see boards/pynq-z1.yaml for an example")
    data.setdefault("name", path.stem)
    return data


def _index_bits(depth: int) -> int:
    return max(1, (depth - 1).bit_length())
