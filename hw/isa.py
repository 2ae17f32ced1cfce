"""The instruction set, declared once.

Each instruction is a frozen dataclass whose fields carry their width, sign and meaning; the position of a
field is the sum of the widths before it.  Encoder, decoder, assembler, disassembler, the RTL's layouts, the
random program generator and docs/isa.md all derive from these declarations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from operator import attrgetter, index
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from hw.errors import EncodeError, ProgramError

if TYPE_CHECKING:
    from hw.config import Config

ISA_VERSION = 1
"""Part of every fingerprint: a change of meaning or layout must change it."""

OPCODE_BITS = 3
COUNT_BITS = 14
STRIDE_BITS = 24
IMM_BITS = 18
CLIP_BITS = 10


class Opcode(IntEnum):
    """Instruction codes.  0 is illegal, so that cleared memory does not run."""

    LOAD = 1
    STORE = 2
    GEMM = 3
    ALU = 4
    REQUANT = 5
    SYNC = 6


class Buffer(IntEnum):
    """Buffers that the load unit writes."""

    UOP = 0
    INP = 1
    WGT = 2
    AUX = 3


class AluOp(IntEnum):
    """Operations of the vector ALU (x: accumulator, y: second operand)."""

    ADD = 0
    MUL = 1
    MAX = 2
    MIN = 3
    SHR = 4
    MULADD = 5


class AluSource(IntEnum):
    """Where the second operand of an ALU operation comes from."""

    IMM = 0
    ACC = 1
    AUX = 2


class Unit(IntEnum):
    """Units in pipeline order; neighbours exchange tokens."""

    LOAD = 0
    COMPUTE = 1
    STORE = 2


ALU_IDENTITY = {
    AluOp.ADD: 0, AluOp.MUL: 1, AluOp.MAX: -(2**31), AluOp.MIN: 2**31 - 1, AluOp.SHR: 0, AluOp.MULADD: 0,
}  # fmt: skip
"""What an ALU operation takes for x where its micro-op says overwrite."""


def _f(width: int | str, doc: str, default: Any = dataclasses.MISSING, *, signed: bool = False,
       kind: type | None = None) -> Any:  # fmt: skip
    """Declare a field: width in bits, or the name of the Config property that gives it."""
    return dataclasses.field(default=default, metadata={"width": width, "signed": signed, "doc": doc, "kind": kind})


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What all instructions share: the token flags.  prev and next are the neighbours in load-compute-store."""

    OPCODE: ClassVar[Opcode]
    UNIT: ClassVar[Unit]
    pop_prev: bool = _f(1, "wait for a token from the previous unit before starting", False, kind=bool)
    pop_next: bool = _f(1, "wait for a token from the next unit before starting", False, kind=bool)
    push_prev: bool = _f(1, "send a token to the previous unit on retiring", False, kind=bool)
    push_next: bool = _f(1, "send a token to the next unit on retiring", False, kind=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Instruction):
    """What copying between DRAM and a buffer takes: segments, rows of them, and steps from one to the next."""

    dram: int = _f(32, "byte address in DRAM", 0)
    sram: int = _f("sram_address_bits", "byte address in the buffer", 0)
    seg: int = _f("segment_bits", "bytes in a segment, at least 1", 1)
    x_size: int = _f(COUNT_BITS, "segments in a row, at least 1", 1)
    x_dram: int = _f(STRIDE_BITS, "bytes between segments in DRAM", 0)
    x_sram: int = _f("sram_address_bits", "bytes between segments in the buffer", 0)
    y_size: int = _f(COUNT_BITS, "rows, at least 1", 1)
    y_dram: int = _f(STRIDE_BITS, "bytes between rows in DRAM", 0)
    y_sram: int = _f("sram_address_bits", "bytes between rows in the buffer", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Transfer):
    """Copy bytes from DRAM into a buffer, or fill a buffer with one byte value.

    ``for y in y_size: for x in x_size:``
    ``sram[sram + y*y_sram + x*x_sram : +seg] = dram[dram + y*y_dram + x*x_dram : +seg]``
    (or ``= value`` with fill).  All addresses are in bytes, of any alignment.
    """

    OPCODE: ClassVar[Opcode] = Opcode.LOAD
    UNIT: ClassVar[Unit] = Unit.LOAD
    buffer: Buffer = _f(2, "which buffer is written", kind=Buffer)
    fill: bool = _f(1, "write `value` and read nothing from DRAM", False, kind=bool)
    value: int = _f(8, "byte written by a fill", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store(Transfer):
    """Copy bytes from the output buffer to DRAM; the loops of LOAD in the other direction."""

    OPCODE: ClassVar[Opcode] = Opcode.STORE
    UNIT: ClassVar[Unit] = Unit.STORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm(Instruction):
    """Matrix product into the accumulators, one [batch][block_in] x [block_out][block_in] product an operation.

    ``for u in uops[uop_begin : uop_begin+uop_count]: for i in iter_out: for j in iter_in:``
    ``d = dst_base + u.dst + i*dst_out + j*dst_in`` (s with src, w with wgt alike);
    ``acc[d] = (0 if u.overwrite else acc[d]) + inp[s] . transpose(wgt[w])``, wrapping in 32 bits.
    """

    OPCODE: ClassVar[Opcode] = Opcode.GEMM
    UNIT: ClassVar[Unit] = Unit.COMPUTE
    uop_begin: int = _f("uop_index_bits", "first micro-op", 0)
    uop_count: int = _f("uop_count_bits", "micro-ops, at least 1", 1)
    iter_out: int = _f(COUNT_BITS, "iterations of the outer loop, at least 1", 1)
    iter_in: int = _f(COUNT_BITS, "iterations of the inner loop, at least 1", 1)
    dst_base: int = _f("acc_index_bits", "accumulator vector added to each micro-op's dst", 0)
    src_base: int = _f("inp_index_bits", "input vector added to each micro-op's src", 0)
    wgt_base: int = _f("wgt_index_bits", "weight tile added to each micro-op's wgt", 0)
    dst_out: int = _f("acc_index_bits", "accumulator step of the outer loop", 0)
    dst_in: int = _f("acc_index_bits", "accumulator step of the inner loop", 0)
    src_out: int = _f("inp_index_bits", "input step of the outer loop", 0)
    src_in: int = _f("inp_index_bits", "input step of the inner loop", 0)
    wgt_out: int = _f("wgt_index_bits", "weight step of the outer loop", 0)
    wgt_in: int = _f("wgt_index_bits", "weight step of the inner loop", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alu(Instruction):
    """Vector operation on the accumulators; d and s as in GEMM, from the micro-ops' dst and src.

    ``x = identity if u.overwrite else acc[d]``; ``y = imm``, ``acc[s]`` or ``sign-extended aux[s]``; then
    ADD ``x + y``, MUL ``x * low18(y)``, MAX, MIN, SHR ``x >> (y & 31)`` (arithmetic),
    MULADD ``(x << shift) + low18(y) * imm`` (not with source IMM), wrapping in 32 bits; low18 is signed.
    The result goes to ``acc[d]``, or with to_out, saturated to int8, to ``out[out_base + d - dst_base]``.
    """

    OPCODE: ClassVar[Opcode] = Opcode.ALU
    UNIT: ClassVar[Unit] = Unit.COMPUTE
    op: AluOp = _f(3, "operation", kind=AluOp)
    source: AluSource = _f(2, "second operand", kind=AluSource)
    to_out: bool = _f(1, "write the output buffer instead of the accumulators", False, kind=bool)
    imm: int = _f(IMM_BITS, "immediate operand, or MULADD's factor", 0, signed=True)
    shift: int = _f(5, "MULADD's left shift of x", 0)
    uop_begin: int = _f("uop_index_bits", "first micro-op", 0)
    uop_count: int = _f("uop_count_bits", "micro-ops, at least 1", 1)
    iter_out: int = _f(COUNT_BITS, "iterations of the outer loop, at least 1", 1)
    iter_in: int = _f(COUNT_BITS, "iterations of the inner loop, at least 1", 1)
    dst_base: int = _f("acc_index_bits", "accumulator vector added to each micro-op's dst", 0)
    src_base: int = _f("vector_src_bits", "accumulator or auxiliary vector added to each micro-op's src", 0)
    out_base: int = _f("out_index_bits", "output vector that stands for dst_base", 0)
    dst_out: int = _f("acc_index_bits", "accumulator step of the outer loop", 0)
    dst_in: int = _f("acc_index_bits", "accumulator step of the inner loop", 0)
    src_out: int = _f("vector_src_bits", "source step of the outer loop", 0)
    src_in: int = _f("vector_src_bits", "source step of the inner loop", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requant(Instruction):
    """Requantise accumulators: bias, multiplier, rounding shift, zero point and clip in one pass.

    The entry at auxiliary vector ``src_base + u.src`` (loaded once a micro-op) holds for each of block_out lanes,
    little endian, int32 bias and an int32 word of mult (bits 17:0, signed) and shift (bits 23:18, 0..47).
    ``v = wrap32(acc[d] + bias)``; ``q = v * mult / 2**shift`` rounded half to even;
    ``clip(q + zero_point, low, high)`` goes to ``acc[d]``, or to ``out[out_base + d - dst_base]`` saturated to int8.
    """

    OPCODE: ClassVar[Opcode] = Opcode.REQUANT
    UNIT: ClassVar[Unit] = Unit.COMPUTE
    to_out: bool = _f(1, "write the output buffer instead of the accumulators", False, kind=bool)
    zero_point: int = _f(CLIP_BITS, "added after the shift", 0, signed=True)
    low: int = _f(CLIP_BITS, "lower bound of the result", -128, signed=True)
    high: int = _f(CLIP_BITS, "upper bound of the result", 127, signed=True)
    uop_begin: int = _f("uop_index_bits", "first micro-op", 0)
    uop_count: int = _f("uop_count_bits", "micro-ops, at least 1", 1)
    iter_out: int = _f(COUNT_BITS, "iterations of the outer loop, at least 1", 1)
    iter_in: int = _f(COUNT_BITS, "iterations of the inner loop, at least 1", 1)
    dst_base: int = _f("acc_index_bits", "accumulator vector added to each micro-op's dst", 0)
    src_base: int = _f("aux_index_bits", "auxiliary vector added to each micro-op's src", 0)
    out_base: int = _f("out_index_bits", "output vector that stands for dst_base", 0)
    dst_out: int = _f("acc_index_bits", "accumulator step of the outer loop", 0)
    dst_in: int = _f("acc_index_bits", "accumulator step of the inner loop", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync(Instruction):
    """No operation of the compute unit; it carries tokens."""

    OPCODE: ClassVar[Opcode] = Opcode.SYNC
    UNIT: ClassVar[Unit] = Unit.COMPUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Uop:
    """Micro-op: the vectors of one operation, relative to the instruction's bases.

    GEMM uses all fields; ALU and REQUANT use dst and src (an accumulator or auxiliary vector).
    """

    overwrite: bool = _f(1, "do not read the accumulator", False, kind=bool)
    dst: int = _f("acc_index_bits", "accumulator vector", 0)
    src: int = _f("uop_src_bits", "input, accumulator or auxiliary vector", 0)
    wgt: int = _f("wgt_index_bits", "weight tile", 0)


INSTRUCTIONS: tuple[type[Instruction], ...] = (Load, Store, Gemm, Alu, Requant, Sync)
BY_OPCODE: dict[int, type[Instruction]] = {int(k.OPCODE): k for k in INSTRUCTIONS}
FLAGS = ("pop_prev", "pop_next", "push_prev", "push_next")
Compute = Gemm | Alu | Requant | Sync


class Field(NamedTuple):
    """A field's place in its word: bits offset .. offset + width - 1."""

    name: str
    offset: int
    width: int
    signed: bool
    doc: str
    kind: type | None


def declared_fields(kind: type) -> list[dataclasses.Field[Any]]:
    """The fields of an instruction or micro-op in their order: the token flags, its own, those that it inherits."""
    own = kind.__dict__["__annotations__"]
    return sorted(dataclasses.fields(kind), key=lambda f: 0 if f.name in FLAGS else 1 if f.name in own else 2)


def _layout(kind: type, cfg: Config, offset: int) -> tuple[Field, ...]:
    result = []
    for f in declared_fields(kind):
        width = f.metadata["width"]
        bits = width if isinstance(width, int) else getattr(cfg, width)
        result.append(Field(f.name, offset, bits, f.metadata["signed"], f.metadata["doc"], f.metadata["kind"]))
        offset += bits
    return tuple(result)


@lru_cache(maxsize=256)
def fields(opcode: int, cfg: Config) -> tuple[Field, ...]:
    """Layout of an instruction, the opcode itself first.  Raises ProgramError for an unknown opcode."""
    if opcode not in BY_OPCODE:
        raise ProgramError(f"unknown opcode {opcode}; legal are {', '.join(f'{o.value} {o.name}' for o in Opcode)}")
    head = Field("opcode", 0, OPCODE_BITS, False, "what the instruction is", Opcode)
    return (head, *_layout(BY_OPCODE[opcode], cfg, OPCODE_BITS))


@lru_cache(maxsize=64)
def uop_fields(cfg: Config) -> tuple[Field, ...]:
    """Layout of a micro-op word."""
    return _layout(Uop, cfg, 0)


def uop_bits(cfg: Config) -> int:
    """Bits that a micro-op's fields need."""
    return sum(f.width for f in _layout(Uop, cfg, 0))


class _Codec(NamedTuple):
    """A layout compiled for speed: one getter for all values, plain tuples for the shifts."""

    kind: type
    name: str
    get: Any
    encode: tuple[tuple[int, int, int, int], ...]  # offset, mask, least, greatest
    decode: tuple[tuple[str, int, int, int, Any], ...]  # name, offset, mask, sign bit, constructor


def _codec(kind: type, layout: Sequence[Field]) -> _Codec:
    encode, decode = [], []
    for f in layout:
        mask = (1 << f.width) - 1
        sign = 1 << (f.width - 1) if f.signed else 0
        encode.append((f.offset, mask, -sign, mask - sign if sign else mask))
        decode.append((f.name, f.offset, mask, sign, f.kind))
    return _Codec(kind, kind.__name__.lower(), attrgetter(*(f.name for f in layout)), tuple(encode), tuple(decode))


@lru_cache(maxsize=64)
def _codecs(cfg: Config) -> dict[int, _Codec]:
    return {op: _codec(kind, fields(op, cfg)[1:]) for op, kind in BY_OPCODE.items()}


@lru_cache(maxsize=64)
def _uop_codec(cfg: Config) -> _Codec:
    return _codec(Uop, uop_fields(cfg))


def _pack(item: Any, codec: _Codec, word: int) -> int:
    for (offset, mask, least, greatest), value in zip(codec.encode, codec.get(item), strict=True):
        number = index(value)
        if not least <= number <= greatest:
            at = next(i for i, e in enumerate(codec.encode) if e[0] == offset)
            raise EncodeError(codec.name, codec.decode[at][0], number, mask.bit_length(), least < 0)
        word |= (number & mask) << offset
    return word


def _unpack(word: int, codec: _Codec) -> Any:
    values: dict[str, Any] = {}
    for name, offset, mask, sign, kind in codec.decode:
        value = (word >> offset) & mask
        if kind is not None:
            try:
                values[name] = kind(value)
            except ValueError:
                legal = ", ".join(f"{k.value} {k.name}" for k in kind)
                raise ProgramError(f"{codec.name}: {value} is not legal; legal are {legal}", field=name) from None
        else:
            values[name] = value - ((value & sign) << 1)
    return codec.kind(**values)


def encode(instr: Instruction, cfg: Config) -> int:
    """The instruction's word.  Raises EncodeError for a value that does not fit its field."""
    return _pack(instr, _codecs(cfg)[instr.OPCODE], int(instr.OPCODE))


def decode(data: int | bytes | np.ndarray, cfg: Config) -> Instruction:
    """The instruction in a word, given as an int or as little-endian bytes.

    Raises ProgramError for an unknown opcode or operation, or when bits beyond the fields are set.
    """
    word = data if isinstance(data, int) else int.from_bytes(bytes(data), "little")
    return _decode_word(word, cfg, _codecs(cfg))


def _decode_word(word: int, cfg: Config, codecs: dict[int, _Codec]) -> Instruction:
    opcode = word & ((1 << OPCODE_BITS) - 1)
    codec = codecs.get(opcode)
    if codec is None:
        layout = fields(opcode, cfg)  # raises, naming the legal opcodes
        raise ProgramError(f"no codec for {layout}")
    _, mask, *_ = codec.encode[-1]
    if word >> (codec.encode[-1][0] + mask.bit_length()):
        raise ProgramError(f"{codec.name}: bits beyond the last field are set; they must be 0")
    return _unpack(word, codec)


def encode_program(program: Iterable[Instruction], cfg: Config) -> np.ndarray:
    """The program's bytes as they lie in DRAM: uint8[n * instruction_bytes].  Raises EncodeError."""
    codecs, size = _codecs(cfg), cfg.instruction_bytes
    words = [_pack(i, codecs[i.OPCODE], int(i.OPCODE)).to_bytes(size, "little") for i in program]
    return np.frombuffer(b"".join(words), dtype=np.uint8).copy()


def decode_program(data: np.ndarray | bytes, cfg: Config) -> list[Instruction]:
    """The inverse of encode_program.  Raises ProgramError naming the instruction's index."""
    raw, size, codecs = bytes(data), cfg.instruction_bytes, _codecs(cfg)
    if len(raw) % size:
        raise ProgramError(f"{len(raw)} bytes are not a multiple of the {size}-byte instruction")
    result = []
    for at in range(0, len(raw), size):
        try:
            result.append(_decode_word(int.from_bytes(raw[at : at + size], "little"), cfg, codecs))
        except ProgramError as error:
            raise ProgramError(error.reason, at // size, error.field) from None
    return result


def encode_uops(uops: Iterable[Uop], cfg: Config) -> np.ndarray:
    """The micro-ops' bytes as they lie in DRAM: uint8[n * uop_bytes].  Raises EncodeError."""
    codec, size = _uop_codec(cfg), cfg.uop_bytes
    return np.frombuffer(b"".join(_pack(u, codec, 0).to_bytes(size, "little") for u in uops), np.uint8).copy()


def decode_uops(data: np.ndarray | bytes, cfg: Config) -> list[Uop]:
    """The inverse of encode_uops.  Raises ProgramError when the size is not a multiple of a micro-op."""
    columns = uop_columns(np.frombuffer(bytes(data), np.uint8), cfg)
    rows = zip(*(columns[f.name].tolist() for f in uop_fields(cfg)), strict=True)
    return [Uop(overwrite=bool(o), dst=d, src=s, wgt=w) for o, d, s, w in rows]


def uop_columns(data: np.ndarray, cfg: Config) -> dict[str, np.ndarray]:
    """Micro-op bytes (uint8[n * uop_bytes]) as one int64[n] array a field; bits beyond the fields are ignored."""
    if data.size % cfg.uop_bytes:
        raise ProgramError(f"{data.size} bytes are not a multiple of the {cfg.uop_bytes}-byte micro-op")
    words = np.ascontiguousarray(data).view(f"<u{cfg.uop_bytes}").astype(np.uint64)
    return {
        f.name: ((words >> np.uint64(f.offset)) & np.uint64((1 << f.width) - 1)).astype(np.int64)
        for f in uop_fields(cfg)
    }
