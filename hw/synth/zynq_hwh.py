"""The hardware description (.hwh) beside a bitstream that no block design made: what PYNQ reads of one.

The loader takes from it the clock of the logic (dividers of the processor), the modules with their addresses and
registers, and which pin raises which interrupt. docs/synth_zynq.md lists the elements it looks at.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as xml

from hw.config import Config
from hw.rtl.registers import REGISTER_BYTES, REGISTERS
from hw.synth.zynq import MASTER, REGISTER_RANGE, SLAVE, Processor, bus_ports, clock_dividers, port_widths

CLOCKS = 4
MACHINE, PROCESSOR = "vdla_0", "processing_system7_0"
"""Names of the instances, as in the block design."""
AXI = "xilinx.com:interface:aximm:1.0"
VLNV = "vdla:user:vdla:1.0"
SYSTEM = "system"


def hardware_description(cfg: Config, part: str, processor: Processor) -> str:
    """The .hwh of the machine behind GP0 and HP0 of a Zynq-7000.

    Raises ConfigError if the processor's PLL does not divide to the machine's clock.
    """
    root = xml.Element("EDKSYSTEM", VERSION="1.2")
    device, package, speed = _part(part)
    xml.SubElement(root, "SYSTEMINFO", ARCH="zynq", DEVICE=device, NAME=SYSTEM, PACKAGE=package, SPEEDGRADE=speed)
    xml.SubElement(root, "EXTERNALPORTS")
    xml.SubElement(root, "EXTERNALINTERFACES")
    modules = xml.SubElement(root, "MODULES")
    _processor(modules, cfg, processor)
    _machine(modules, cfg, processor)
    xml.indent(root)
    return xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def clock_parameters(cfg: Config, processor: Processor) -> dict[str, str]:
    """Parameters of the PS7 block that say what clock 0 is, and that the others are off."""
    parameters = {}
    for clock in range(CLOCKS):
        dividers = clock_dividers(processor.io_pll_mhz, cfg.clock_mhz) if clock == 0 else (1, 1)
        parameters[f"PCW_FPGA_FCLK{clock}_ENABLE"] = str(int(clock == 0))
        parameters[f"PCW_FCLK{clock}_PERIPHERAL_CLKSRC"] = "IO PLL"
        for number, divider in enumerate(dividers):
            parameters[f"PCW_FCLK{clock}_PERIPHERAL_DIVISOR{number}"] = str(divider)
    return parameters


def _processor(modules: xml.Element, cfg: Config, processor: Processor) -> None:
    module = _module(modules, PROCESSOR, "processing_system7", "xilinx.com:ip:processing_system7:5.5", "FALSE")
    module.set("IPTYPE", "HARD_SYSTEM")
    parameters = {"PCW_FPGA0_PERIPHERAL_FREQMHZ": f"{cfg.clock_mhz:g}", **clock_parameters(cfg, processor)}
    _parameters(module, {**processor.settings, **parameters})
    ports, buses = xml.SubElement(module, "PORTS"), xml.SubElement(module, "BUSINTERFACES")
    clock = _port(ports, "FCLK_CLK0", "O", "clk", signal="fabric_clk")
    _connection(clock, MACHINE, "clk")
    interrupt = _port(ports, "IRQ_F2P", "I", "intr", (0, 0), "interrupt")
    _connection(interrupt, MACHINE, "interrupt")
    for bus, theirs in (("M_AXI_GP0", SLAVE), ("S_AXI_HP0", MASTER)):
        element = _bus(buses, bus, theirs, "MASTER" if theirs == SLAVE else "SLAVE")
        _bus_ports(ports, element, cfg, theirs, bus + "_", MACHINE, reverse=True)
    _range(xml.SubElement(module, "MEMORYMAP"), processor)


def _machine(modules: xml.Element, cfg: Config, processor: Processor) -> None:
    module = _module(modules, MACHINE, "vdla", VLNV, "TRUE")
    _registers(module)
    base, high = processor.registers, processor.registers + REGISTER_RANGE - 1
    _parameters(module, {"C_S_AXIL_BASEADDR": f"0x{base:08X}", "C_S_AXIL_HIGHADDR": f"0x{high:08X}"})
    ports, buses = xml.SubElement(module, "PORTS"), xml.SubElement(module, "BUSINTERFACES")
    clock = _port(ports, "clk", "I", "clk", signal="fabric_clk")
    _connection(clock, PROCESSOR, "FCLK_CLK0")
    interrupt = _port(ports, "interrupt", "O", "INTERRUPT", signal="interrupt")
    _connection(interrupt, PROCESSOR, "IRQ_F2P")
    for bus, theirs in ((SLAVE, "M_AXI_GP0"), (MASTER, "S_AXI_HP0")):
        element = _bus(buses, bus, bus, "SLAVE" if bus == SLAVE else "MASTER")
        _bus_ports(ports, element, cfg, bus, bus + "_", PROCESSOR, other=theirs + "_")


def _module(modules: xml.Element, name: str, kind: str, vlnv: str, logic: str) -> xml.Element:
    version = vlnv.rpartition(":")[2]
    facts = {"FULLNAME": f"/{name}", "INSTANCE": name, "MODTYPE": kind, "VLNV": vlnv, "HWVERSION": version}
    return xml.SubElement(modules, "MODULE", {**facts, "IPTYPE": "PERIPHERAL", "IS_PL": logic, "IS_ENABLE": "1"})


def _parameters(module: xml.Element, parameters: Mapping[str, str]) -> None:
    group = xml.SubElement(module, "PARAMETERS")
    for name, value in parameters.items():
        xml.SubElement(group, "PARAMETER", NAME=name, VALUE=value)


def _port(
    ports: xml.Element, name: str, way: str, kind: str, bits: tuple[int, int] | None = None, signal: str = ""
) -> xml.Element:
    facts = {"DIR": way, "NAME": name, "SIGIS": kind, "SIGNAME": signal or name}
    if bits is not None:
        facts |= {"LEFT": str(bits[0]), "RIGHT": str(bits[1])}
    return xml.SubElement(ports, "PORT", facts)


def _connection(port: xml.Element, instance: str, name: str) -> None:
    xml.SubElement(xml.SubElement(port, "CONNECTIONS"), "CONNECTION", INSTANCE=instance, PORT=name)


def _bus(buses: xml.Element, name: str, net: str, kind: str) -> xml.Element:
    return xml.SubElement(buses, "BUSINTERFACE", BUSNAME=f"{MACHINE}_{net}", NAME=name, TYPE=kind, VLNV=AXI)


def _bus_ports(
    ports: xml.Element,
    bus: xml.Element,
    cfg: Config,
    ours: str,
    prefix: str,
    instance: str,
    *,
    other: str = "",
    reverse: bool = False,
) -> None:
    """Ports of a bus and their map to its signals; on the processor's side (`reverse`) they point the other way."""
    maps, widths = xml.SubElement(bus, "PORTMAPS"), port_widths(cfg)
    for signal, port in bus_ports(cfg, ours).items():
        direction, width = widths[port]
        name = f"{prefix}{signal}" if reverse else port
        way = "O" if (direction == "out") != reverse else "I"
        element = _port(ports, name, way, "undef", (width - 1, 0) if width > 1 else None, f"{MACHINE}_{port}")
        _connection(element, instance, port if reverse else f"{other}{signal}")
        xml.SubElement(maps, "PORTMAP", LOGICAL=signal, PHYSICAL=name)


def _range(memory: xml.Element, processor: Processor) -> None:
    facts = {
        "ADDRESSBLOCK": "reg0",
        "BASENAME": "C_S_AXIL_BASEADDR",
        "BASEVALUE": f"0x{processor.registers:08X}",
        "HIGHNAME": "C_S_AXIL_HIGHADDR",
        "HIGHVALUE": f"0x{processor.registers + REGISTER_RANGE - 1:08X}",
        "INSTANCE": MACHINE,
        "IS_DATA": "TRUE",
        "IS_INSTRUCTION": "TRUE",
        "MASTERBUSINTERFACE": "M_AXI_GP0",
        "MEMTYPE": "REGISTER",
        "SLAVEBUSINTERFACE": SLAVE,
    }
    xml.SubElement(memory, "MEMRANGE", facts)


def _registers(module: xml.Element) -> None:
    blocks = xml.SubElement(module, "ADDRESSBLOCKS")
    facts = {"ACCESS": "", "INTERFACE": SLAVE, "NAME": "reg0", "RANGE": str(REGISTER_RANGE), "USAGE": "register"}
    registers = xml.SubElement(xml.SubElement(blocks, "ADDRESSBLOCK", facts), "REGISTERS")
    for register in REGISTERS:
        element = xml.SubElement(registers, "REGISTER", NAME=register.name)
        properties = {
            "DESCRIPTION": register.doc,
            "ADDRESS_OFFSET": str(register.offset),
            "SIZE": str(8 * REGISTER_BYTES),
            "ACCESS": "read-write" if register.writable else "read-only",
            "IS_ENABLED": "true",
            "RESET_VALUE": "0",
        }
        for name, value in properties.items():
            xml.SubElement(element, "PROPERTY", NAME=name, VALUE=value)


def _part(part: str) -> tuple[str, str, str]:
    """Device, package, speed grade: ``xc7z020clg400-1`` is ``("7z020", "clg400", "-1")``."""
    name, _, speed = part.removeprefix("xc").partition("-")
    split = name.index("clg") if "clg" in name else len(name)
    return name[:split], name[split:], f"-{speed}"
