"""The instruction stream of one program while it is being written.

Holds the instructions in sequential order (without tokens: :mod:`hw.dependence` adds them), which layer each belongs
to, the micro-op kernels with their image in DRAM, and what the buffers are known to hold, so that a padding that is
still in place is not filled again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hw.config import Config
from hw.isa import Buffer, Instruction, Load, Uop, encode_uops
from vdla.target.errors import CapacityError
from vdla.target.fold import UopTuple

UNKNOWN = -1


@dataclass
class Stream:
    """See the module.  ``uop_base``: DRAM byte address of the micro-op image."""

    cfg: Config
    uop_base: int
    instructions: list[Instruction] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    layer: int = 0
    uops: list[UopTuple] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._image_at: dict[tuple[UopTuple, ...], int] = {}
        self._resident: dict[tuple[UopTuple, ...], int] = {}
        self._next_uop = 0
        self._contents = {
            Buffer.INP: np.full(self.cfg.inp_buffer, UNKNOWN, np.int16),
            Buffer.AUX: np.full(self.cfg.aux_buffer, UNKNOWN, np.int16),
            Buffer.WGT: np.full(self.cfg.wgt_buffer, UNKNOWN, np.int16),
        }

    def append(self, instruction: Instruction) -> None:
        """Add an instruction to the current layer; a fill of bytes that already hold its value is dropped."""
        if isinstance(instruction, Load) and instruction.buffer != Buffer.UOP:
            view = self._view(instruction)
            if instruction.fill:
                if (view == instruction.value).all():
                    return
                view[...] = instruction.value
            else:
                view[...] = UNKNOWN
        self.instructions.append(instruction)
        self.layers.append(self.layer)

    def _view(self, load: Load) -> np.ndarray:
        contents = self._contents[load.buffer][load.sram :]
        return np.lib.stride_tricks.as_strided(
            contents,
            (load.y_size, load.x_size, load.seg),
            (load.y_sram * contents.itemsize, load.x_sram * contents.itemsize, contents.itemsize),
        )

    def kernel(self, uops: tuple[UopTuple, ...]) -> int:
        """Index in the micro-op buffer of ``uops``, loading them there if they are not.

        Raises CapacityError for a kernel longer than the buffer.
        """
        at = self._resident.get(uops)
        if at is not None:
            return at
        n, depth = len(uops), self.cfg.uop_depth
        if n > depth:
            raise CapacityError(f"a micro-op kernel of {n} needs more than the {depth} of vdla.uop_buffer")
        if self._next_uop + n > depth:
            self._next_uop = 0
        at = self._next_uop
        self._next_uop += n
        for key in [k for k, b in self._resident.items() if b < at + n and at < b + len(k)]:
            del self._resident[key]
        self._resident[uops] = at
        image = self._image_at.get(uops)
        if image is None:
            image = self._image_at[uops] = len(self.uops)
            self.uops.extend(uops)
        size = self.cfg.uop_bytes
        self.append(Load(buffer=Buffer.UOP, dram=self.uop_base + image * size, sram=at * size, seg=n * size))
        return at

    def uop_image(self) -> np.ndarray:
        """All micro-op kernels as they lie in DRAM, uint8."""
        if not self.uops:
            return np.zeros(0, np.uint8)
        return encode_uops([Uop(dst=d, src=s, wgt=w, overwrite=o) for d, s, w, o in self.uops], self.cfg)
