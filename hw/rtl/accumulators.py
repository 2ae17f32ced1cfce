"""The accumulator buffer: one write port, two read ports, as two copies of the same memory."""

from __future__ import annotations

from hw.config import Config
from hw.rtl.hdl import Component, In, Memory, Module, Out
from hw.rtl.layouts import BYTE_BITS


class Accumulators(Component):
    """Vectors `index_a` and `index_b` stand at `vector_a`, `vector_b` one cycle later.

    What is written in a cycle can be read from the next on.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        self._bits = BYTE_BITS * cfg.acc_vector_bytes
        index = cfg.acc_index_bits
        super().__init__(
            {
                **{f"index_{p}": In(index) for p in "ab"},
                **{f"vector_{p}": Out(self._bits) for p in "ab"},
                "write": In(1),
                "index": In(index),
                "vector": In(self._bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sides = ((self.index_a, self.vector_a), (self.index_b, self.vector_b))
        for name, (index, vector) in zip("ab", sides, strict=True):
            m.submodules[f"copy_{name}"] = copy = Memory(shape=self._bits, depth=self._cfg.acc_depth, init=[])
            write, read = copy.write_port(), copy.read_port()
            m.d.comb += [
                read.addr.eq(index),
                read.en.eq(1),
                vector.eq(read.data),
                write.addr.eq(self.index),
                write.data.eq(self.vector),
                write.en.eq(self.write),
            ]
        return m
