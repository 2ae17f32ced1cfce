"""From packets (hw.harness.protocol) to registers and memory: the host's hand on the board."""

from __future__ import annotations

from typing import Any

from amaranth.lib import crc, data, wiring

from hw.config import Config
from hw.harness.port import MemoryPort, stream_of
from hw.harness.protocol import (
    ANSWER,
    CRC_BYTES,
    HARNESS_REGISTERS,
    MAGIC,
    REGISTER_BYTES,
    REQUEST,
    SYNC,
    VERSION,
    WAIT_UNIT,
    WRITES,
    HarnessRegister,
    Opcode,
    Status,
)
from hw.rtl import axi
from hw.rtl.hdl import Array, Cat, Component, Const, In, Module, Mux, Out, Signal
from hw.rtl.layouts import BYTE_BITS
from hw.rtl.logic import exact_log2

_REQUEST = data.StructLayout({"opcode": 8, "sequence": 8, "address": 32, "count": 16})
"""`protocol.REQUEST` as logic."""
_ANSWER = data.StructLayout({"status": 8, "sequence": 8, "count": 16})
"""`protocol.ANSWER` as logic."""
assert _REQUEST.size == REQUEST.size * BYTE_BITS and _ANSWER.size == ANSWER.size * BYTE_BITS


class Link(Component):
    """Takes requests from `received`, does them, puts answers on `sent`.

    Registers are reached at `m_axil_*` and memory, of `size` bytes, at `memory`, a bus word at a time: the line is
    slower than that. A pause of `gap` cycles within a request ends it.
    """

    def __init__(self, cfg: Config, size: int, gap: int) -> None:
        self._cfg, self._size, self._gap = cfg, size, gap
        self._lane_bits = exact_log2(cfg.bus_bytes)
        lite = wiring.Signature(axi.lite_members("m_axil_")).flip().members
        super().__init__(
            {
                "received": In(stream_of(BYTE_BITS)),
                "sent": Out(stream_of(BYTE_BITS)),
                "memory": Out(MemoryPort(cfg)),
                "interrupt": In(1),
                **lite,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._head, self._status, self._left = Signal(_REQUEST), Signal(Status), Signal(range(1 << 16))
        self._word, self._lanes = Signal(self._cfg.bus_bits), Signal(self._cfg.bus_bytes)
        self._value = Signal(BYTE_BITS * REGISTER_BYTES)
        self._previous, self._too_late = Signal(self._head.sequence.shape()), Signal()
        m.submodules.crc = self._crc = crc.catalog.CRC16_IBM_3740(BYTE_BITS).create()
        m.d.comb += self._crc.data.eq(self.received.p)
        with m.FSM() as states:
            self._receive_head(m)
            self._receive_data(m)
            self._access_registers(m)
            self._wait(m)
            self._answer(m)
            self._answer_data(m)
        silence = Signal(range(self._gap + 1))
        with m.If(self.received.valid | ~(states.ongoing("HEAD") | states.ongoing("DATA") | states.ongoing("TAIL"))):
            m.d.sync += silence.eq(0)
        with m.Else():
            m.d.sync += silence.eq(silence + 1)
        m.d.comb += self._too_late.eq(silence == self._gap)
        return m

    # ---- requests -----------------------------------------------------------------------------------------------

    def _receive(self, m: Module) -> Any:
        """Takes a byte into the CRC and counts it; whether there is one. Forgets the request after a long pause."""
        byte = self.received
        m.d.comb += [byte.ready.eq(1), self._crc.valid.eq(byte.valid)]
        m.d.sync += self._left.eq(self._left - byte.valid)
        with m.If(self._too_late):
            m.next = "HUNT"
        return byte.valid

    def _receive_head(self, m: Module) -> None:
        head, left = self._head, self._left
        with m.State("HUNT"):
            m.d.comb += [self.received.ready.eq(1), self._crc.start.eq(1)]
            m.d.sync += [left.eq(REQUEST.size + CRC_BYTES), self._lanes.eq(0), self._status.eq(Status.OK)]
            with m.If(self.received.valid & (self.received.p == SYNC)):
                m.next = "HEAD"
        with m.State("HEAD"), m.If(self._receive(m)):
            with m.If(left > CRC_BYTES):
                m.d.sync += head.eq(Cat(head.as_value()[BYTE_BITS:], self.received.p))
            with m.If(left == 1):
                m.next = "HEAD_CHECK"
        with m.State("HEAD_CHECK"):
            m.next = "DISPATCH"
            with m.If(~self._crc.match_detected):
                m.next = "HUNT"
        with m.State("DISPATCH"):
            m.d.comb += self._crc.start.eq(1)
            m.d.sync += left.eq(head.count)
            with m.Switch(head.opcode):
                with m.Case(Opcode.READ_MEMORY, Opcode.WRITE_MEMORY):
                    with m.If(head.address + head.count > self._size):
                        m.d.sync += self._status.eq(Status.BAD_ADDRESS)
                    m.next = "ANSWER"
                with m.Case(Opcode.READ_REGISTER):
                    m.next = "READ_REGISTER"
                with m.Case(Opcode.WAIT):
                    m.next = "WAIT"
                with m.Case(Opcode.WRITE_REGISTER):
                    pass
                with m.Default():
                    m.d.sync += self._status.eq(Status.BAD_REQUEST)
                    m.next = "ANSWER"
            of_register = [Opcode.READ_REGISTER, Opcode.WRITE_REGISTER, Opcode.WAIT]
            with m.If(head.opcode.matches(*of_register) & (head.count != REGISTER_BYTES)):
                m.d.sync += self._status.eq(Status.BAD_REQUEST)
                m.next = "ANSWER"
            with m.If(head.opcode.matches(*WRITES)):
                m.next = "DATA"
                with m.If(head.count == 0):
                    m.d.sync += left.eq(CRC_BYTES)
                    m.next = "TAIL"

    def _receive_data(self, m: Module) -> None:
        head, left, byte, memory = self._head, self._left, self.received.p, self.memory
        lane = head.address[: self._lane_bits]
        to_memory = (head.opcode == Opcode.WRITE_MEMORY) & (self._status == Status.OK)
        with m.State("DATA"), m.If(self._receive(m)):
            m.d.sync += self._value.eq(Cat(self._value[BYTE_BITS:], byte))
            with m.If(left == 1):
                m.d.sync += left.eq(CRC_BYTES)
                m.next = "TAIL"
            with m.If(to_memory):
                m.d.sync += [
                    self._word.word_select(lane, BYTE_BITS).eq(byte),
                    self._lanes.bit_select(lane, 1).eq(1),
                    head.address.eq(head.address + 1),
                ]
                with m.If(lane.all() | (left == 1)):
                    m.d.sync += left.eq(left - 1)
                    m.next = "STORE"
        with m.State("STORE"):
            m.d.comb += [
                memory.request.valid.eq(1),
                memory.request.p.write.eq(1),
                # The address is that of the byte to come.
                memory.request.p.word.eq((head.address - 1) >> self._lane_bits),
                memory.request.p.beats.eq(1),
            ]
            with m.If(memory.request.ready):
                m.next = "STORE_BEAT"
        with m.State("STORE_BEAT"):
            m.d.comb += [
                memory.write.valid.eq(1),
                memory.write.p.data.eq(self._word),
                memory.write.p.strobe.eq(self._lanes),
            ]
            with m.If(memory.done):
                m.d.sync += self._lanes.eq(0)
                m.next = "DATA"
                with m.If(left == 0):
                    m.d.sync += left.eq(CRC_BYTES)
                    m.next = "TAIL"
        with m.State("TAIL"), m.If(self._receive(m) & (left == 1)):
            m.next = "TAIL_CHECK"
        with m.State("TAIL_CHECK"):
            m.next = "ANSWER"
            with m.If(self._status != Status.OK):
                pass
            with m.Elif(~self._crc.match_detected):
                m.d.sync += self._status.eq(Status.BAD_DATA)
            with m.Elif((head.opcode == Opcode.WRITE_REGISTER) & (head.sequence != self._previous)):
                m.next = "WRITE_REGISTER"

    def _access_registers(self, m: Module) -> None:
        head, value = self._head, self._value
        own = head.address >= HARNESS_REGISTERS
        m.d.comb += [
            self.m_axil_araddr.eq(head.address),
            self.m_axil_awaddr.eq(head.address),
            self.m_axil_wdata.eq(value),
            self.m_axil_wstrb.eq(~Const(0, axi.LITE_BITS // BYTE_BITS)),
        ]
        values = {
            HarnessRegister.IDENTITY: MAGIC,
            HarnessRegister.VERSION: VERSION,
            HarnessRegister.MEMORY_BYTES: self._size,
            HarnessRegister.CLOCK_HZ: round(self._cfg.clock_mhz * 1e6),
        }
        with m.State("READ_REGISTER"):
            m.d.comb += self.m_axil_arvalid.eq(~own)
            with m.If(own):
                m.next = "ANSWER"
                with m.Switch(head.address):
                    for register, constant in values.items():
                        with m.Case(register):
                            m.d.sync += value.eq(constant)
                    with m.Default():
                        m.d.sync += self._status.eq(Status.BAD_ADDRESS)
            with m.Elif(self.m_axil_arready):
                m.next = "READ_VALUE"
        with m.State("READ_VALUE"):
            m.d.comb += self.m_axil_rready.eq(1)
            m.d.sync += value.eq(self.m_axil_rdata)
            with m.If(self.m_axil_rvalid):
                m.next = "ANSWER"
        address_taken, data_taken = Signal(), Signal()
        with m.State("WRITE_REGISTER"):
            m.d.comb += [
                self.m_axil_awvalid.eq(~own & ~address_taken),
                self.m_axil_wvalid.eq(~own & ~data_taken),
                self.m_axil_bready.eq(1),
            ]
            with m.If(self.m_axil_awready):
                m.d.sync += address_taken.eq(1)
            with m.If(self.m_axil_wready):
                m.d.sync += data_taken.eq(1)
            with m.If(own):
                m.d.sync += self._status.eq(Status.BAD_ADDRESS)
            with m.If(own | self.m_axil_bvalid):
                m.d.sync += [address_taken.eq(0), data_taken.eq(0)]
                m.next = "ANSWER"

    def _wait(self, m: Module) -> None:
        unit = Signal(range(WAIT_UNIT))
        with m.State("WAIT"):
            m.d.sync += [unit.eq(unit + 1), self._value.eq(self.interrupt)]
            with m.If(unit.all()):
                m.d.sync += self._head.address.eq(self._head.address - 1)
            with m.If(self.interrupt | (self._head.address == 0)):
                m.next = "ANSWER"

    # ---- answers ------------------------------------------------------------------------------------------------

    def _send(self, m: Module, byte: Any) -> Any:
        """Offers a byte, which goes into the CRC and is counted when it is taken; whether it is."""
        taken = self.sent.valid & self.sent.ready
        m.d.comb += [self.sent.valid.eq(1), self.sent.p.eq(byte), self._crc.data.eq(byte), self._crc.valid.eq(taken)]
        m.d.sync += self._left.eq(self._left - taken)
        return taken

    def _answer(self, m: Module) -> None:
        head, left = self._head, self._left
        count, in_data = Signal(16), Signal()
        m.d.comb += count.eq(Mux((self._status == Status.OK) & ~head.opcode.matches(*WRITES), head.count, 0))
        answer = Signal(_ANSWER)
        m.d.comb += [answer.status.eq(self._status), answer.sequence.eq(head.sequence), answer.count.eq(count)]
        index = Signal(range(ANSWER.size))
        m.d.comb += index.eq(ANSWER.size - left)
        bytes_ = Array(answer.as_value().word_select(k, BYTE_BITS) for k in range(ANSWER.size))
        with m.State("ANSWER"):
            with m.If(self._status == Status.OK):
                m.d.sync += self._previous.eq(head.sequence)
            with m.If(self._send(m, SYNC)):
                m.d.comb += [self._crc.start.eq(1), self._crc.valid.eq(0)]
                m.d.sync += [left.eq(ANSWER.size), in_data.eq(0)]
                m.next = "ANSWER_HEAD"
        with m.State("ANSWER_HEAD"), m.If(self._send(m, bytes_[index]) & (left == 1)):
            m.d.sync += left.eq(CRC_BYTES)
            m.next = "ANSWER_CRC"
        with m.State("ANSWER_CRC"):
            # The CRC does not go into itself, so that it stands still while it is sent.
            high = left == CRC_BYTES
            taken = self._send(m, Mux(high, self._crc.crc[BYTE_BITS:], self._crc.crc[:BYTE_BITS]))
            m.d.comb += self._crc.valid.eq(0)
            with m.If(taken & (left == 1)):
                m.d.comb += self._crc.start.eq(1)
                m.d.sync += [left.eq(count), in_data.eq(1)]
                m.next = "HUNT"
                with m.If(~in_data & (count != 0)):
                    m.next = "SEND_VALUE"
                    with m.If(head.opcode == Opcode.READ_MEMORY):
                        m.next = "FETCH"

    def _answer_data(self, m: Module) -> None:
        head, left, memory = self._head, self._left, self.memory
        lane = head.address[: self._lane_bits]
        with m.State("SEND_VALUE"), m.If(self._send(m, self._value[:BYTE_BITS])):
            m.d.sync += self._value.eq(self._value >> BYTE_BITS)
            with m.If(left == 1):
                m.d.sync += left.eq(CRC_BYTES)
                m.next = "ANSWER_CRC"
        with m.State("FETCH"):
            m.d.comb += [
                memory.request.valid.eq(1),
                memory.request.p.word.eq(head.address >> self._lane_bits),
                memory.request.p.beats.eq(1),
            ]
            with m.If(memory.request.ready):
                m.next = "FETCH_BEAT"
        with m.State("FETCH_BEAT"):
            m.d.comb += memory.read.ready.eq(1)
            m.d.sync += self._word.eq(memory.read.p)
            with m.If(memory.read.valid):
                m.next = "SEND_WORD"
        with m.State("SEND_WORD"), m.If(self._send(m, self._word.word_select(lane, BYTE_BITS))):
            m.d.sync += head.address.eq(head.address + 1)
            with m.If(left == 1):
                m.d.sync += left.eq(CRC_BYTES)
                m.next = "ANSWER_CRC"
            with m.Elif(lane.all()):
                m.next = "FETCH"
