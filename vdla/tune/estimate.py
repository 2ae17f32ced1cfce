"""The compiler's own estimate of a convolution's cycles, as a start for the search and a feature for its model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.tune.errors import SpaceError
from compiler.tune.features import KnobFeatures
from compiler.tune.space import ConfigSpace
from hw.config import Config
from vdla.target.ops import conv2d
from vdla.tune.templates import THREADS, Spec, knobs_of


def estimates(cfg: Config, spec: Spec, space: ConfigSpace) -> dict[int, float]:
    """Point -> estimated cycles; empty for operators without an estimate."""
    if not isinstance(spec, conv2d.ConvSpec):
        return {}
    found: dict[int, float] = {}
    for threads in sorted({count for count, _ in THREADS} - {1}):
        for candidate in conv2d.candidates(cfg, spec, threads):
            try:
                found[space.find(knobs_of(candidate.tile)).index] = candidate.cycles
            except SpaceError:
                continue  # a rule of the space that the estimate does not know
    return found


class EstimateFeatures:
    """The knobs and the logarithm of the estimate, for many points at once; no lowering."""

    def __init__(self, space: ConfigSpace, estimated: dict[int, float]) -> None:
        self._knobs = KnobFeatures(space)
        self._estimated = estimated

    def __call__(self, indices: Sequence[int]) -> np.ndarray:
        estimated = np.array([self._estimated.get(int(i), np.nan) for i in indices])
        return np.concatenate([self._knobs(indices), np.log2(estimated)[:, None].astype(np.float32)], axis=1)
