"""From the processor's AXI3 port to the machine's AXI4-Lite registers.

The general purpose port of a Zynq-7000 is an AXI3 master: 12-bit IDs, bursts of up to 16 beats, of any size up to its
width. The bridge takes one burst of each direction at a time and makes one register access of each beat. A beat
narrower than a word reads the word it lies in, and writes with the strobes it came with; what the registers do with
those is their matter. Locked and exclusive accesses are ordinary ones, so an exclusive access never succeeds, which
AXI permits.
"""

from __future__ import annotations

from hw.rtl import axi
from hw.rtl.hdl import Cat, Component, Const, In, Module, Out, Signal

ID_BITS = 12
LENGTH_BITS = 4
SIZE_BITS = 2
WRAP = 2
"""AxBURST of a burst that wraps at its own size."""
FIXED = 0
"""AxBURST of a burst to one address."""
PAGE_BITS = 12
"""No burst crosses a boundary of 4 KiB."""


def _address(prefix: str) -> dict[str, object]:
    return {
        f"{prefix}valid": In(1),
        f"{prefix}ready": Out(1),
        f"{prefix}id": In(ID_BITS),
        f"{prefix}addr": In(axi.ADDRESS_BITS),
        f"{prefix}len": In(LENGTH_BITS),
        f"{prefix}size": In(SIZE_BITS),
        f"{prefix}burst": In(axi.BURST_BITS),
    }


class Bridge(Component):
    """AXI3 slave `gp_*` in, AXI4-Lite master `lite_*` out, both 32 bits wide; all handshakes are registered states.

    `gp_wid` is not there: the port does not interleave bursts. Of an address only the bits of the register space count.
    """

    def __init__(self) -> None:
        slave = {
            **_address("gp_ar"),
            "gp_rvalid": Out(1),
            "gp_rready": In(1),
            "gp_rid": Out(ID_BITS),
            "gp_rdata": Out(axi.LITE_BITS),
            "gp_rresp": Out(axi.RESP_BITS),
            "gp_rlast": Out(1),
            **_address("gp_aw"),
            "gp_wvalid": In(1),
            "gp_wready": Out(1),
            "gp_wdata": In(axi.LITE_BITS),
            "gp_wstrb": In(axi.LITE_BITS // 8),
            "gp_bvalid": Out(1),
            "gp_bready": In(1),
            "gp_bid": Out(ID_BITS),
            "gp_bresp": Out(axi.RESP_BITS),
        }
        lite = {name: member.flip() for name, member in axi.lite_members("lite_").items()}
        super().__init__({**slave, **lite})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._reads(m)
        self._writes(m)
        return m

    def _reads(self, m: Module) -> None:
        address, left, step, identity = _burst(m, self, "gp_ar")
        with m.FSM(name="read"):
            with m.State("IDLE"):
                m.d.comb += self.gp_arready.eq(1)
                with m.If(self.gp_arvalid):
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.lite_arvalid.eq(1)
                with m.If(self.lite_arready):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += self.lite_rready.eq(1)
                with m.If(self.lite_rvalid):
                    m.d.sync += [self.gp_rdata.eq(self.lite_rdata), self.gp_rresp.eq(self.lite_rresp)]
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.gp_rvalid.eq(1)
                with m.If(self.gp_rready):
                    m.d.comb += step.eq(1)
                    with m.If(left == 0):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "ASK"
        m.d.comb += [
            self.lite_araddr.eq(_word(address)),
            self.gp_rid.eq(identity),
            self.gp_rlast.eq(left == 0),
        ]

    def _writes(self, m: Module) -> None:
        address, left, step, identity = _burst(m, self, "gp_aw")
        addressed, sent = Signal(name="write_addressed"), Signal(name="write_sent")
        with m.FSM(name="write"):
            with m.State("IDLE"):
                m.d.comb += self.gp_awready.eq(1)
                m.d.sync += self.gp_bresp.eq(0)
                with m.If(self.gp_awvalid):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += self.gp_wready.eq(1)
                m.d.sync += [
                    self.lite_wdata.eq(self.gp_wdata),
                    self.lite_wstrb.eq(self.gp_wstrb),
                    addressed.eq(0),
                    sent.eq(0),
                ]
                with m.If(self.gp_wvalid):
                    m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += [self.lite_awvalid.eq(~addressed), self.lite_wvalid.eq(~sent)]
                with m.If(self.lite_awready):
                    m.d.sync += addressed.eq(1)
                with m.If(self.lite_wready):
                    m.d.sync += sent.eq(1)
                with m.If((addressed | self.lite_awready) & (sent | self.lite_wready)):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += self.lite_bready.eq(1)
                with m.If(self.lite_bvalid):
                    m.d.comb += step.eq(1)
                    # The first thing that went wrong is the burst's response.
                    with m.If(self.gp_bresp == 0):
                        m.d.sync += self.gp_bresp.eq(self.lite_bresp)
                    with m.If(left == 0):
                        m.next = "ANSWER"
                    with m.Else():
                        m.next = "TAKE"
            with m.State("ANSWER"):
                m.d.comb += self.gp_bvalid.eq(1)
                with m.If(self.gp_bready):
                    m.next = "IDLE"
        m.d.comb += [self.lite_awaddr.eq(_word(address)), self.gp_bid.eq(identity)]


def _word(address: Signal) -> Signal:
    """The word of the register space that an address lies in."""
    return Cat(Const(0, 2), address[2 : axi.LITE_ADDRESS_BITS])


def _burst(m: Module, bridge: Bridge, prefix: str) -> tuple[Signal, Signal, Signal, Signal]:
    """A burst's address and beats left after this one, which go on when `step` is high, and its ID."""
    name = prefix.removeprefix("gp_")
    address, left = Signal(PAGE_BITS, name=f"{name}_address"), Signal(LENGTH_BITS, name=f"{name}_left")
    identity, step = Signal(ID_BITS, name=f"{name}_identity"), Signal(name=f"{name}_step")
    size, burst = Signal(SIZE_BITS, name=f"{name}_beat"), Signal(axi.BURST_BITS, name=f"{name}_kind")
    inside = Signal(PAGE_BITS, name=f"{name}_inside")

    def asked(field: str) -> Signal:
        return getattr(bridge, prefix + field)

    with m.If(asked("valid") & asked("ready")):
        m.d.sync += [
            address.eq(asked("addr")),
            left.eq(asked("len")),
            identity.eq(asked("id")),
            size.eq(asked("size")),
            burst.eq(asked("burst")),
            # The bits of the address that change in a wrapping burst, which has 2, 4, 8 or 16 beats.
            inside.eq(((asked("len") + 1) << asked("size")) - 1),
        ]
    within, following = Signal(PAGE_BITS, name=f"{name}_within"), Signal(PAGE_BITS, name=f"{name}_following")
    m.d.comb += [
        within.eq((1 << size) - 1),
        # After a first beat at an unaligned address come aligned ones.
        following.eq((address | within) + 1),
    ]
    with m.If(step):
        m.d.sync += left.eq(left - 1)
        with m.If(burst == WRAP):
            m.d.sync += address.eq((address & ~inside) | (following & inside))
        with m.Elif(burst != FIXED):
            m.d.sync += address.eq(following)
    return address, left, step, identity
