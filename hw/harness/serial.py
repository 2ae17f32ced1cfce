"""An asynchronous serial line, 8 data bits, no parity, one stop bit, as streams of bytes."""

from __future__ import annotations

from amaranth.lib.cdc import FFSynchronizer

from hw.harness.port import stream_of
from hw.rtl.hdl import Cat, Component, Const, In, Module, Out, Signal
from hw.rtl.layouts import BYTE_BITS

LEAST_DIVISOR = 4
"""Fewest clock cycles of a bit that the receiver can find the middle of."""


class Receiver(Component):
    """Bytes from the line `rx`, `divisor` clock cycles a bit. A byte that nobody takes in time is lost.

    A byte without its stop bit is dropped.
    """

    def __init__(self, divisor: int) -> None:
        assert divisor >= LEAST_DIVISOR
        self._divisor = divisor
        super().__init__({"rx": In(1, init=1), "bytes": Out(stream_of(BYTE_BITS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        timer, left, shift = Signal(range(self._divisor)), Signal(range(BYTE_BITS + 2)), Signal(BYTE_BITS)
        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)
        with m.If(left == 0):
            with m.If(~line):
                # The first sample is due in the middle of the start bit.
                m.d.sync += [left.eq(BYTE_BITS + 2), timer.eq(self._divisor // 2 - 1)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self._divisor - 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += [self.bytes.valid.eq(line), self.bytes.p.eq(shift)]
            with m.Elif((left == BYTE_BITS + 2) & line):
                # No start bit but a glitch.
                m.d.sync += left.eq(0)
            with m.Else():
                m.d.sync += shift.eq(Cat(shift[1:], line))
        return m


class Transmitter(Component):
    """Bytes onto the line `tx`, `divisor` clock cycles a bit."""

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"tx": Out(1, init=1), "bytes": In(stream_of(BYTE_BITS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timer, left, shift = Signal(range(self._divisor)), Signal(range(BYTE_BITS + 3)), Signal(BYTE_BITS + 1)
        m.d.comb += self.bytes.ready.eq(left == 0)
        with m.If(left == 0):
            with m.If(self.bytes.valid):
                m.d.sync += [
                    self.tx.eq(0),
                    shift.eq(Cat(self.bytes.p, Const(1, 1))),
                    left.eq(BYTE_BITS + 2),
                    timer.eq(self._divisor - 1),
                ]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [
                timer.eq(self._divisor - 1),
                left.eq(left - 1),
                self.tx.eq(shift[0]),
                shift.eq(Cat(shift[1:], Const(1, 1))),
            ]
        return m
