"""What schedules need to know about a processor, as data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from compiler.backend.llvm import Machine


@dataclass(frozen=True)
class Processor:
    """One core, as a schedule sees it.

    vector_bytes: width of a vector register. registers: how many there are. l1_bytes, l2_bytes: data caches of one
    core. macs_per_cycle: float32 multiply-accumulates. stream_bytes_per_cycle: what one core reads of data that lies in
    no cache of its own. features: LLVM's names of what it has beyond its architecture's base. doubles: whether its
    vectors hold float64. by_lane: whether it multiplies a vector by one lane of another.
    interleaved: elements of structures that it loads as so many vectors, each of one of them, and stores so.
    fuses: whether it multiplies and adds vectors of float32 with one rounding.
    """

    vector_bytes: int
    registers: int
    l1_bytes: int = 32 << 10
    l2_bytes: int = 1 << 20
    stream_bytes_per_cycle: float = 5.0
    features: frozenset[str] = frozenset()
    doubles: bool = True
    by_lane: bool = False
    interleaved: tuple[int, ...] = ()
    fuses: bool = False

    @property
    def lanes(self) -> int:
        """float32 elements of one vector."""
        return self.vector_bytes // 4

    @property
    def fetches_ahead(self) -> bool:
        """Whether asking for weights ahead pays: a vector is at least half a line of the caches. Shorter ones would ask
        for each line several times, and every request takes a product's turn."""
        return self.vector_bytes >= 32

    @property
    def macs_per_cycle(self) -> int:
        """Two vector units."""
        return 2 * self.lanes

    @staticmethod
    @lru_cache(maxsize=16)
    def of(triple: str | None = None, cpu: str = "host") -> Processor:
        """The processor that code for an LLVM triple and processor name runs on; CodegenError for unknown ones."""
        machine = Machine.get(triple, cpu)
        bits = machine.vector_bits
        wide = bits == 512
        arm64, armv7 = machine.triple.startswith("aarch64"), machine.triple.startswith("arm")
        features = frozenset(name[1:] for name in machine.features.split(",") if name.startswith("+"))
        registers = 32 if wide or arm64 else 16
        return Processor(
            bits // 8,
            registers,
            features=features,
            doubles=not armv7,
            by_lane=arm64 or armv7,
            interleaved=(2, 3, 4) if arm64 or armv7 else (),
            fuses=arm64 or "fma" in features,
        )
