"""The buffers of one machine, and the compiled kernels of its configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hw import isa
from hw.config import Config
from hw.errors import ProgramError
from sim.kernels import Fault, P


def constants(cfg: Config) -> tuple[tuple[str, int], ...]:
    """The compile-time constants of the kernels (their namespace `c`), hashable: equal ones share compiled code."""
    names = ("batch", "block_in", "block_out", "uop_bytes", "param_vectors")
    return tuple((name, getattr(cfg, name)) for name in names)


def parameters(cfg: Config) -> np.ndarray:
    """The kernels' run-time parameters, int64[P.COUNT]."""
    values = np.zeros(P.COUNT, np.int64)
    for name in ("uop", "inp", "wgt", "acc", "aux", "out"):
        values[P[f"{name.upper()}_DEPTH"]] = getattr(cfg, f"{name}_depth")
    for f in isa.uop_fields(cfg):
        if f.name == "overwrite":
            assert f.offset == 0, "the kernels take overwrite from bit 0"
        else:
            values[P[f"{f.name.upper()}_OFFSET"]] = f.offset
            values[P[f"{f.name.upper()}_MASK"]] = (1 << f.width) - 1
    return values


_FAULTS = {
    Fault.UOP: ("uop_begin", "micro-op", "micro-op"),
    Fault.INP: ("src_base", "input vector", "input"),
    Fault.WGT: ("wgt_base", "weight tile", "weight"),
    Fault.ACC: ("dst_base", "accumulator", "accumulator"),
    Fault.AUX: ("src_base", "auxiliary vector", "auxiliary"),
    Fault.OUT: ("out_base", "output vector", "output"),
    Fault.ACC_SOURCE: ("src_base", "accumulator", "accumulator"),
}


@dataclass
class State:
    """The buffers, all zero at the start, and the kernels' scratch.

    uop uint8[uop_buffer]; inp, wgt, aux, out int8[their bytes]; acc int32[acc_buffer // 4].
    """

    cfg: Config
    uop: np.ndarray = field(init=False)
    inp: np.ndarray = field(init=False)
    wgt: np.ndarray = field(init=False)
    aux: np.ndarray = field(init=False)
    acc: np.ndarray = field(init=False)
    out: np.ndarray = field(init=False)
    fault: np.ndarray = field(init=False)
    parameters: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        cfg = self.cfg
        self.uop = np.zeros(cfg.uop_buffer, np.uint8)
        self.inp = np.zeros(cfg.inp_buffer, np.int8)
        self.wgt = np.zeros(cfg.wgt_buffer, np.int8)
        self.aux = np.zeros(cfg.aux_buffer, np.int8)
        self.acc = np.zeros(cfg.acc_buffer // 4, np.int32)
        self.out = np.zeros(cfg.out_buffer, np.int8)
        self.fault = np.zeros(4, np.int64)
        self.parameters = parameters(cfg)
        self._tile = np.zeros(cfg.block_in * cfg.block_out, np.float32)
        self._lanes = np.zeros(3 * cfg.block_out, np.int64)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """In the order of the kernels' parameters: uop, inp, wgt, aux, acc, out, tile, lanes, fault."""
        return (self.uop, self.inp, self.wgt, self.aux, self.acc, self.out, self._tile, self._lanes, self.fault)

    def fault_error(self, index: int) -> ProgramError:
        """The exception for the fault that a kernel left for instruction `index`."""
        name, what, buffer = _FAULTS[Fault(int(self.fault[0]))]
        last, depth = int(self.fault[1]), int(self.fault[2])
        return ProgramError(f"reaches {what} {last}; the {buffer} buffer holds 0..{depth - 1}", index, name)
