"""Control and status registers behind an AXI4-Lite slave, and the state of the machine: idle, running, halting."""

from __future__ import annotations

from typing import Any

from hw.config import Config
from hw.isa import Unit
from hw.rtl.axi import ADDRESS_BITS, LITE_BITS, lite_members
from hw.rtl.fetch import LENGTH_BITS
from hw.rtl.hdl import Cat, Component, Const, In, Module, Mux, Out, ResetSignal, Signal
from hw.rtl.registers import OFFSET, REGISTER_BYTES, REGISTERS, Control, Error, Status
from hw.rtl.revision import revision
from hw.timing import CAUSES

COUNTER_BITS = 2 * LITE_BITS


class ControlUnit(Component):
    """Registers (hw.rtl.registers) and the machine's state.

    A write of START resets the core for a cycle (`reset`), starts it in the next (`start`), and the one after is the
    program's cycle 0: `running` is set from then to the last retirement. An error or a write of RESET sets `stop` until
    nothing is `outstanding` any more; then the core is reset.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        units = len(Unit)
        super().__init__(
            {
                **lite_members(),
                "interrupt": Out(1),
                "reset": Out(1),
                "start": Out(1),
                "address": Out(ADDRESS_BITS),
                "length": Out(LENGTH_BITS),
                "stop": Out(1),
                "running": Out(1),
                "outstanding": In(1),
                "retires": In(units),
                "last": In(1),
                "waiting": In(1),
                "cause": In(range(len(CAUSES))),
                "working": In(units),
                "read_error": In(1),
                "write_error": In(1),
                "illegal": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self._cfg
        write = self._bus(m)
        writes = {r.name: write[0] & (write[1] == r.offset // REGISTER_BYTES) for r in REGISTERS if r.writable}
        data = write[2]
        control = data & writes["CONTROL"].replicate(LITE_BITS)

        enable = Signal()
        done, failed, error = Signal(), Signal(), Signal(Error)
        stopping, preparing = Signal(), Signal()
        idle, finished, retired = Signal(), Signal(), Signal(LENGTH_BITS)
        # What retired in the last cycle is counted in this one.
        left, just = Signal(LENGTH_BITS), Signal(range(len(Unit) + 1))
        remaining = Signal.like(left)
        m.d.comb += [
            idle.eq(~self.running & ~stopping & ~preparing & ~self.start),
            # The retirements of this cycle are known late: only a narrow comparison waits for them.
            remaining.eq(left - just),
            finished.eq(self.running & ~remaining[len(just) :].any() & (remaining[: len(just)] == sum(self.retires))),
            self.interrupt.eq(enable & (done | failed)),
        ]
        for name, register in (("PROGRAM_ADDRESS", self.address), ("PROGRAM_LENGTH", self.length)):
            with m.If(writes[name] & idle):
                m.d.sync += register.eq(data)
        with m.If(writes["INTERRUPT_ENABLE"]):
            m.d.sync += enable.eq(data)
        with m.If(writes["STATUS"]):
            with m.If((data & Status.DONE).any()):
                m.d.sync += done.eq(0)
            with m.If((data & Status.ERROR).any()):
                m.d.sync += failed.eq(0)

        begin = Signal()
        m.d.comb += begin.eq((control & Control.START).any() & idle)
        aligned, fits = self._placed()
        # `stop` is set with `stopping` and with `reset`.
        m.d.sync += [preparing.eq(0), self.start.eq(0), self.reset.eq(0), self.stop.eq(stopping)]
        m.d.sync += [just.eq(Mux(self.running, sum(self.retires), 0)), retired.eq(retired + just), left.eq(remaining)]
        with m.If(begin):
            m.d.sync += [done.eq(0), failed.eq(0), error.eq(Error.NONE)]
            m.d.sync += [just.eq(0), retired.eq(0), left.eq(self.length)]
            with m.If(self.length == 0):
                m.d.sync += done.eq(1)
            with m.Elif(aligned & fits):
                m.d.sync += [preparing.eq(1), self.reset.eq(1), self.stop.eq(1)]
            with m.Else():
                m.d.sync += [failed.eq(1), error.eq(Error.PROGRAM)]
        with m.If(preparing):
            m.d.sync += self.start.eq(1)
        with m.If(self.start):
            m.d.sync += self.running.eq(1)
        with m.If(finished):
            m.d.sync += [self.running.eq(0), done.eq(1)]

        problem = Signal(Error)
        with m.If(self.read_error):
            m.d.comb += problem.eq(Error.READ)
        with m.Elif(self.write_error):
            m.d.comb += problem.eq(Error.WRITE)
        with m.Elif(self.illegal):
            m.d.comb += problem.eq(Error.INSTRUCTION)
        with m.If(self.running & (problem != Error.NONE)):
            m.d.sync += [failed.eq(1), error.eq(problem), done.eq(0), self.running.eq(0)]
            m.d.sync += [stopping.eq(1), self.stop.eq(1)]
        with m.If((control & Control.RESET).any() & ~idle):
            m.d.sync += [preparing.eq(0), self.start.eq(0), self.running.eq(0), stopping.eq(1), self.stop.eq(1)]
        with m.If(stopping & ~self.outstanding):
            m.d.sync += [stopping.eq(0), self.reset.eq(1)]

        counters = self._counters(m, begin, finished)
        fingerprint = Const(int(cfg.fingerprint, 16), COUNTER_BITS)
        status = Mux(idle, 0, Status.BUSY) | Mux(done, Status.DONE, 0) | Mux(failed, Status.ERROR, 0)
        values = {
            "STATUS": status,
            "INTERRUPT_ENABLE": enable,
            "PROGRAM_ADDRESS": self.address,
            "PROGRAM_LENGTH": self.length,
            "ERROR": error,
            "RETIRED": retired + just,
            "FINGERPRINT_LOW": fingerprint[:LITE_BITS],
            "FINGERPRINT_HIGH": fingerprint[LITE_BITS:],
            "REVISION": Const(revision(), LITE_BITS),
            **counters,
        }
        self._answer(m, values)
        return m

    def _placed(self) -> tuple[Any, Any]:
        """Whether the program's address is aligned, and whether its end lies in the address space."""
        cfg = self._cfg
        unit = max(cfg.bus_bytes, cfg.instruction_bytes)
        end = self.address + self.length * cfg.instruction_bytes
        return self.address % unit == 0, end <= 1 << ADDRESS_BITS

    def _counters(self, m: Module, begin: Signal, finished: Signal) -> dict[str, Any]:
        """Cycles, busy cycles, and cycles by cause.

        Whether a cycle without any compute instruction is one of `fetch` or of `drain` shows later: they are kept apart
        until the next instruction comes, or the end. They count what was in the cycle before.
        """
        running, waiting, last = Signal(), Signal(), Signal()
        cause, working = Signal.like(self.cause), Signal.like(self.working)
        m.d.sync += [
            running.eq(self.running),
            waiting.eq(self.waiting),
            last.eq(finished),
            cause.eq(self.cause),
            working.eq(self.working),
        ]
        cycles = Signal(COUNTER_BITS)
        undecided = Signal(LITE_BITS)
        busy = {u: Signal(LITE_BITS, name=f"busy_{u.name.lower()}") for u in Unit}
        causes = {name: Signal(LITE_BITS, name=f"cycles_{name}") for name in CAUSES}
        with m.If(begin):
            m.d.sync += [s.eq(0) for s in (cycles, undecided, *busy.values(), *causes.values())]
        with m.Elif(running):
            m.d.sync += cycles.eq(cycles + 1)
            for unit, counter in busy.items():
                m.d.sync += counter.eq(counter + working[unit])
            with m.If(waiting):
                m.d.sync += undecided.eq(undecided + 1)
            with m.Else():
                m.d.sync += undecided.eq(0)
                m.d.sync += causes["fetch"].eq(causes["fetch"] + undecided)
                for code, name in enumerate(CAUSES):
                    if name not in ("fetch", "drain"):
                        m.d.sync += causes[name].eq(causes[name] + (cause == code))
            with m.If(last):
                m.d.sync += causes["drain"].eq(undecided + waiting)
        return {
            "CYCLES_LOW": cycles[:LITE_BITS],
            "CYCLES_HIGH": cycles[LITE_BITS:],
            **{f"BUSY_{u.name}": s for u, s in busy.items()},
            **{f"CYCLES_{n.upper()}": s for n, s in causes.items()},
        }

    def _bus(self, m: Module) -> tuple[Any, Any, Any]:
        """The write side: takes address and data when both are there. Returns (strobe, register, data)."""
        take = Signal()
        register = self.s_axil_awaddr[(REGISTER_BYTES - 1).bit_length() :]
        full = self.s_axil_wstrb.all()
        m.d.comb += [
            take.eq(
                self.s_axil_awvalid & self.s_axil_wvalid & (~self.s_axil_bvalid | self.s_axil_bready) & ~ResetSignal()
            ),
            self.s_axil_awready.eq(take),
            self.s_axil_wready.eq(take),
        ]
        with m.If(take):
            m.d.sync += self.s_axil_bvalid.eq(1)
        with m.Elif(self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        # A register is written whole or not at all.
        return take & full, register, self.s_axil_wdata

    def _answer(self, m: Module, values: dict[str, Any]) -> None:
        """The read side: a register in the cycle after its address."""
        take = Signal()
        m.d.comb += [
            take.eq(self.s_axil_arvalid & (~self.s_axil_rvalid | self.s_axil_rready) & ~ResetSignal()),
            self.s_axil_arready.eq(take),
        ]
        with m.If(take):
            m.d.sync += [self.s_axil_rvalid.eq(1), self.s_axil_rdata.eq(0)]
            with m.Switch(self.s_axil_araddr[(REGISTER_BYTES - 1).bit_length() :]):
                for name, value in values.items():
                    with m.Case(OFFSET[name] // REGISTER_BYTES):
                        m.d.sync += self.s_axil_rdata.eq(Cat(value))
        with m.Elif(self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)
