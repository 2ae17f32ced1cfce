"""The buffers that load writes or store reads: bytes at any alignment on one side, whole vectors on the other.

A buffer is columns of one bus word's width; bus word w lies in column w mod columns. A piece of up to a bus word, of
any alignment, touches two neighbouring columns, and a vector lies in one row, so each side needs a single port of each
column (docs/timing.md, section 3: pieces).
"""

from __future__ import annotations

from typing import Any

from hw.rtl.hdl import Array, Cat, Component, In, Memory, Module, Out, Signal
from hw.rtl.layouts import BYTE_BITS
from hw.rtl.logic import exact_log2


class Geometry:
    """How a buffer of `size` bytes lies in columns: `columns` of `word` bytes and `rows`, `vectors` in a row."""

    def __init__(self, size: int, vector: int, word: int) -> None:
        self.word, self.vector = word, vector
        self.columns = max(2, vector // word)
        row = self.columns * word
        self.rows = -(-size // row)
        self.vectors = row // vector
        self.words = -(-size // word)
        self.depth = size // vector
        self.column_bits = exact_log2(self.columns)
        self.vector_bits = exact_log2(self.vectors)

    def memories(self, m: Module, kind: str) -> list[Memory]:
        """The columns, each added to the module."""
        result = []
        for c in range(self.columns):
            column = Memory(shape=BYTE_BITS * self.word, depth=self.rows, init=[])
            m.submodules[f"{kind}_{c}"] = column
            result.append(column)
        return result

    def rows_of(self, word: Any) -> list[Any]:
        """The row that each column shows to a piece that begins in bus word `word`."""
        column, row = word[: self.column_bits], word[self.column_bits :]
        return [row + (column > c) for c in range(self.columns)]


class LoadBuffer(Component):
    """A buffer written by load in pieces and read by compute in vectors.

    A piece is given as its first bus word's index `word`, its bytes rotated to their place in a bus word, and the bytes
    to write in that word (`mask_low`) and the next (`mask_high`). Vector `index` stands at `vector` one cycle later,
    and stays there while `read` is off.
    """

    def __init__(self, size: int, vector_bytes: int, word_bytes: int) -> None:
        self._g = g = Geometry(size, vector_bytes, word_bytes)
        super().__init__(
            {
                "write": In(1),
                "word": In(range(max(2, g.words))),
                "bytes": In(BYTE_BITS * word_bytes),
                "mask_low": In(word_bytes),
                "mask_high": In(word_bytes),
                "read": In(1, init=1),
                "index": In(range(max(2, g.depth))),
                "vector": Out(BYTE_BITS * vector_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, g = Module(), self._g
        column = self.word[: g.column_bits]
        rows = g.rows_of(self.word)
        read = []
        for c, bank in enumerate(g.memories(m, "column")):
            out, into = bank.read_port(), bank.write_port(granularity=BYTE_BITS)
            read.append(out.data)
            m.d.comb += [
                out.addr.eq(self.index[g.vector_bits :]),
                out.en.eq(self.read),
                into.addr.eq(rows[c]),
                into.data.eq(self.bytes),
            ]
            with m.If(self.write & (column == c)):
                m.d.comb += into.en.eq(self.mask_low)
            with m.Elif(self.write & (column == (c - 1) % g.columns)):
                m.d.comb += into.en.eq(self.mask_high)
        if g.vectors == 1:
            m.d.comb += self.vector.eq(Cat(*read))
        else:
            which = Signal(g.vector_bits)
            with m.If(self.read):
                m.d.sync += which.eq(self.index[: g.vector_bits])
            m.d.comb += self.vector.eq(Cat(*read).word_select(which, BYTE_BITS * g.vector))
        return m


class StoreBuffer(Component):
    """A buffer written by compute in vectors and read by store in pieces.

    With `read`, bus word `word` and the one behind it stand at `low` and `high` from the next cycle on.
    """

    def __init__(self, size: int, vector_bytes: int, word_bytes: int) -> None:
        self._g = g = Geometry(size, vector_bytes, word_bytes)
        super().__init__(
            {
                "write": In(1),
                "index": In(range(max(2, g.depth))),
                "vector": In(BYTE_BITS * vector_bytes),
                "read": In(1),
                "word": In(range(max(2, g.words))),
                "low": Out(BYTE_BITS * word_bytes),
                "high": Out(BYTE_BITS * word_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, g = Module(), self._g
        rows = g.rows_of(self.word)
        enable = Signal(g.columns * g.word)
        which = self.index[: g.vector_bits]
        for v in range(g.vectors):
            m.d.comb += enable.word_select(v, g.vector).eq((self.write & (which == v)).replicate(g.vector))
        row_data = self.vector.replicate(g.vectors)
        read = []
        for c, bank in enumerate(g.memories(m, "column")):
            out, into = bank.read_port(), bank.write_port(granularity=BYTE_BITS)
            read.append(out.data)
            m.d.comb += [
                out.addr.eq(rows[c]),
                out.en.eq(self.read),
                into.addr.eq(self.index[g.vector_bits :]),
                into.data.eq(row_data.word_select(c, BYTE_BITS * g.word)),
                into.en.eq(enable.word_select(c, g.word)),
            ]
        column = Signal(g.column_bits)
        with m.If(self.read):
            m.d.sync += column.eq(self.word[: g.column_bits])
        words = Array(read)
        m.d.comb += [self.low.eq(words[column]), self.high.eq(words[(column + 1)[: g.column_bits]])]
        return m
