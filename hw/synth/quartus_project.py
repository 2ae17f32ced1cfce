"""The files of a Quartus project for a Cyclone V with a processor, from the machine's ports and the board's facts.

The system that Platform Designer makes is the top of the design: its exported interfaces are the pins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hw.config import Board, Config
from hw.errors import ConfigError
from hw.synth.flow import Build
from hw.synth.rendering import render
from hw.synth.zynq import MASTER, SLAVE, Leds, bus_ports, port_widths

BRIDGE = 0xFF20_0000
"""Where the processor sees the lightweight bridge to the logic."""
BRIDGE_RANGE = 2 << 20
REGISTER_RANGE = 256
"""Bytes that the registers take behind the bridge."""
PORT_WIDTHS = {32: 1, 64: 2, 128: 3}
"""Bits of the port from the logic to the processor's memory, and what the processor's parameter for it is."""
SCRIPT = "build.sh"
COMPONENT, SYSTEM = "vdla_hw.tcl", "system.tcl"


@dataclass(frozen=True)
class Facts:
    """What the board's file says of it.

    Attributes:
        registers: physical address of the control registers.
        clock_mhz, clock_pin, clock_standard: the oscillator at a pin of the logic.
        settings: of the processor's component, by parameter.
    """

    registers: int
    clock_mhz: float
    clock_pin: str
    clock_standard: str
    settings: Mapping[str, str]

    @classmethod
    def of(cls, board: Board) -> Facts:
        """The facts of a board. Raises ConfigError if its file lacks one or says what cannot be."""
        processor, clock = board.facts.get("processor"), board.facts.get("clock")
        for name, section, keys in (("processor", processor, ("registers",)), ("clock", clock, ("mhz", "pin"))):
            absent = [key for key in keys if not isinstance(section, Mapping) or key not in section]
            if absent:
                reason = f"{board.name} does not say it"
                raise ConfigError(f"board.{name}.{absent[0]}", reason, "see boards/de10-nano.yaml for an example")
        assert isinstance(processor, Mapping) and isinstance(clock, Mapping)
        registers = processor["registers"]
        if not BRIDGE <= registers <= BRIDGE + BRIDGE_RANGE - REGISTER_RANGE or registers % REGISTER_RANGE:
            reason = f"0x{registers:x} is not a multiple of {REGISTER_RANGE} behind the lightweight bridge"
            raise ConfigError("board.processor.registers", reason, f"try 0x{BRIDGE:x}")
        settings = {str(name): str(value) for name, value in (processor.get("settings") or {}).items()}
        return cls(registers, clock["mhz"], clock["pin"], str(clock.get("standard", "3.3-V LVTTL")), settings)


def project_files(build: Build) -> dict[str, str]:
    """Text of each file of the project besides ``vdla.v``, by name.

    Raises ConfigError if the machine does not fit the processor's ports, or the board's file lacks facts.
    """
    cfg, facts, leds = build.config, Facts.of(build.board), Leds.of(build.board)
    if cfg.axi != "axi3":
        raise ConfigError("vdla.axi", "the ports of a Cyclone V are AXI3", "try axi3 with burst_beats 16")
    if cfg.bus_bits not in PORT_WIDTHS:
        legal = ", ".join(map(str, PORT_WIDTHS))
        raise ConfigError("vdla.bus_bits", f"{cfg.bus_bits} bits are not a width of the port", f"legal are {legal}")
    title = f"{build.board.name}, VDLA {cfg.fingerprint}"
    values = {
        "title": title,
        "fingerprint": cfg.fingerprint,
        "part": build.part.name,
        "buses": _buses(cfg),
        "slave": SLAVE,
        "master": MASTER,
        "clock_hz": round(facts.clock_mhz * 1e6),
        "board_mhz": f"{facts.clock_mhz:g}",
        "clock_mhz": f"{cfg.clock_mhz:g}",
        "registers": f"0x{facts.registers - BRIDGE:x}",
        "settings": {**facts.settings, **_processor_settings(cfg)},
    }
    return {
        COMPONENT: render("quartus_component.tcl.j2", values),
        SYSTEM: render("quartus_system.tcl.j2", values),
        "vdla.qpf": 'PROJECT_REVISION = "vdla"\n',
        "vdla.qsf": _assignments(build, facts, leds),
        "vdla.sdc": _timing(facts),
        SCRIPT: _script(build, title),
    }


def _processor_settings(cfg: Config) -> dict[str, str]:
    """What of the processor the design uses: the register bridge, one memory port, interrupts; and nothing else."""
    return {
        "LWH2F_Enable": "true",
        "S2F_Width": "0",
        "F2S_Width": str(PORT_WIDTHS[cfg.bus_bits]),
        "F2SDRAM_Type": "",
        "F2SDRAM_Width": "",
        "F2SINTERRUPT_Enable": "1",
        "MPU_EVENTS_Enable": "0",
    }


def _buses(cfg: Config) -> list[dict[str, object]]:
    properties: dict[str, dict[str, int]] = {
        MASTER: {
            "readIssuingCapability": cfg.memory.read_outstanding,
            "writeIssuingCapability": cfg.memory.write_outstanding,
            "combinedIssuingCapability": cfg.memory.read_outstanding + cfg.memory.write_outstanding,
        },
        SLAVE: {
            "readAcceptanceCapability": 1,
            "writeAcceptanceCapability": 1,
            "combinedAcceptanceCapability": 1,
            "readDataReorderingDepth": 1,
        },
    }
    widths = port_widths(cfg)
    return [
        {
            "name": bus,
            "kind": kind,
            "properties": properties[bus],
            "ports": [
                {
                    "name": port,
                    "role": signal.lower(),
                    "direction": "Output" if widths[port][0] == "out" else "Input",
                    "width": widths[port][1],
                }
                for signal, port in bus_ports(cfg, bus).items()
                # AXI3 has no quality of service; the machine's stays open.
                if not signal.endswith("QOS")
            ],
        }
        for bus, kind in ((SLAVE, "axi4lite end"), (MASTER, "axi start"))
    ]


def _assignments(build: Build, facts: Facts, leds: Leds) -> str:
    """The .qsf: device, files, pins."""
    assigned = {
        "FAMILY": '"Cyclone V"',
        "DEVICE": build.part.name,
        "TOP_LEVEL_ENTITY": "system",
        "PROJECT_OUTPUT_DIRECTORY": "output_files",
        "QIP_FILE": "system/synthesis/system.qip",
        "SDC_FILE": "vdla.sdc",
        "SEED": build.options["seed"],
        "NUM_PARALLEL_PROCESSORS": build.options["jobs"],
        "OPTIMIZATION_MODE": '"HIGH PERFORMANCE EFFORT"',
    }
    pins = [("clk_clk", facts.clock_pin, facts.clock_standard)]
    pins += [("running_export", pin, leds.standard) for pin in leds.pins[:1]]
    lines = [f"set_global_assignment -name {name} {value}" for name, value in assigned.items()]
    for port, pin, standard in pins:
        lines.append(f"set_location_assignment PIN_{pin} -to {port}")
        lines.append(f'set_instance_assignment -name IO_STANDARD "{standard}" -to {port}')
    return "\n".join(lines) + "\n"


def _timing(facts: Facts) -> str:
    return (
        f"create_clock -name board_clock -period {1000 / facts.clock_mhz:.3f} [get_ports clk_clk]\n"
        "derive_pll_clocks\n"
        "derive_clock_uncertainty\n"
        "set_false_path -to [get_ports running_export]\n"
    )


def _script(build: Build, title: str) -> str:
    """Shell script from ``vdla.v`` to ``vdla.sof`` and ``vdla.rbf``, to be run in its own folder."""
    return f"""#!/bin/sh
# {title}: from vdla.v to vdla.rbf. Needs Quartus Prime Lite or Standard 17.0 or later: its folders bin and
# sopc_builder/bin on PATH.
set -eu
cd "$(dirname "$0")"
qsys-script --script={SYSTEM} --search-path=.,$
qsys-generate system.qsys --synthesis=VERILOG --output-directory=system --part={build.part.name} --search-path=.,$
# Synthesis first: the pins of the processor's memory get their standards from what it knows then.
quartus_map vdla
for pins in $(find system -name '*_p0_pin_assignments.tcl'); do
    quartus_sta -t "$pins" vdla
done
quartus_sh --flow compile vdla
quartus_cpf -c -o bitstream_compression=on output_files/vdla.sof output_files/vdla.rbf
"""
