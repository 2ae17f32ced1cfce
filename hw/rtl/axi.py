"""The buses of the machine as flat, standard signal names: an AXI3/AXI4 master and an AXI4-Lite slave.

Names follow the AMBA specification in lower case behind a prefix (`axi_arvalid`, `s_axil_wdata`), so that
Vivado, cocotbext-axi and other people's tools find the buses by themselves.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from amaranth.lib.wiring import In, Member, Out

from hw.config import Config

ADDRESS_BITS = 32
"""Bits of a DRAM address."""
LITE_BITS = 32
"""Data width of the control bus."""
LITE_ADDRESS_BITS = 8
"""Address width of the control bus, bytes."""
RESP_BITS = 2
SIZE_BITS = 3
BURST_BITS = 2
CACHE_BITS = 4
PROT_BITS = 3
QOS_BITS = 4


class ReadId(IntEnum):
    """Who asked for a read burst; the memory echoes it."""

    FETCH = 0
    LOAD = 1


ID_BITS = max(ReadId).bit_length()
"""Width of all IDs; writes use ID 0 only."""


class BurstType(IntEnum):
    """AxBURST."""

    INCR = 1


class Cache(IntFlag):
    """AxCACHE bits used."""

    BUFFERABLE = 1
    MODIFIABLE = 2


def len_bits(cfg: Config) -> int:
    """Width of AxLEN."""
    return 4 if cfg.axi == "axi3" else 8


def lock_bits(cfg: Config) -> int:
    """Width of AxLOCK."""
    return 2 if cfg.axi == "axi3" else 1


def _address_channel(cfg: Config, prefix: str) -> dict[str, Member]:
    return {
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
        f"{prefix}id": Out(ID_BITS),
        f"{prefix}addr": Out(ADDRESS_BITS),
        f"{prefix}len": Out(len_bits(cfg)),
        f"{prefix}size": Out(SIZE_BITS),
        f"{prefix}burst": Out(BURST_BITS),
        f"{prefix}lock": Out(lock_bits(cfg)),
        f"{prefix}cache": Out(CACHE_BITS),
        f"{prefix}prot": Out(PROT_BITS),
        f"{prefix}qos": Out(QOS_BITS),
    }


def master_members(cfg: Config, prefix: str = "axi_") -> dict[str, Member]:
    """The five channels of the memory port, seen from the machine.  AXI3 has WID as well."""
    wid = {f"{prefix}wid": Out(ID_BITS)} if cfg.axi == "axi3" else {}
    return {
        **_address_channel(cfg, f"{prefix}ar"),
        f"{prefix}rvalid": In(1),
        f"{prefix}rready": Out(1),
        f"{prefix}rid": In(ID_BITS),
        f"{prefix}rdata": In(cfg.bus_bits),
        f"{prefix}rresp": In(RESP_BITS),
        f"{prefix}rlast": In(1),
        **_address_channel(cfg, f"{prefix}aw"),
        f"{prefix}wvalid": Out(1),
        f"{prefix}wready": In(1),
        **wid,
        f"{prefix}wdata": Out(cfg.bus_bits),
        f"{prefix}wstrb": Out(cfg.bus_bytes),
        f"{prefix}wlast": Out(1),
        f"{prefix}bvalid": In(1),
        f"{prefix}bready": Out(1),
        f"{prefix}bid": In(ID_BITS),
        f"{prefix}bresp": In(RESP_BITS),
    }


def lite_members(prefix: str = "s_axil_") -> dict[str, Member]:
    """The AXI4-Lite slave of the control registers, seen from the machine."""
    return {
        f"{prefix}awvalid": In(1),
        f"{prefix}awready": Out(1),
        f"{prefix}awaddr": In(LITE_ADDRESS_BITS),
        f"{prefix}awprot": In(PROT_BITS),
        f"{prefix}wvalid": In(1),
        f"{prefix}wready": Out(1),
        f"{prefix}wdata": In(LITE_BITS),
        f"{prefix}wstrb": In(LITE_BITS // 8),
        f"{prefix}bvalid": Out(1),
        f"{prefix}bready": In(1),
        f"{prefix}bresp": Out(RESP_BITS),
        f"{prefix}arvalid": In(1),
        f"{prefix}arready": Out(1),
        f"{prefix}araddr": In(LITE_ADDRESS_BITS),
        f"{prefix}arprot": In(PROT_BITS),
        f"{prefix}rvalid": Out(1),
        f"{prefix}rready": In(1),
        f"{prefix}rdata": Out(LITE_BITS),
        f"{prefix}rresp": Out(RESP_BITS),
    }
