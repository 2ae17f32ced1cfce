"""Operators by name: the paper's convolutions (C1 to C12), and sizes written out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hw.config import Config
from vdla.errors import UsageError
from vdla.models.layers import CONVOLUTIONS
from vdla.target.ops import add, conv2d, pool
from vdla.target.ops.common import Requantization, ResidualAdd
from vdla.tune.templates import Spec

_QUANT = Requantization(0)


_FORMS = {
    "conv2d": ({"ic", "h", "w", "oc", "k"}, {"n": 1, "stride": 1, "pad": 0, "add": 0}),
    "depthwise": ({"c", "h", "w", "k"}, {"n": 1, "stride": 1, "pad": 0}),
    "dense": ({"ic", "oc"}, {"n": 1}),
    "max_pool2d": ({"c", "h", "w", "k"}, {"n": 1, "stride": 1, "pad": 0}),
    "avg_pool2d": ({"c", "h", "w", "k"}, {"n": 1, "stride": 1, "pad": 0}),
    "add": ({"c", "h", "w"}, {"n": 1}),
}
"""Operator -> sizes that must be given, and those that may be with their defaults."""

HELP = "conv2d:ic=64,h=56,w=56,oc=64,k=3,stride=1,pad=1[,add=1]"


@dataclass(frozen=True)
class Operator:
    """An operator to tune; ``uses``: in how many places of a network it stands."""

    name: str
    spec: Spec
    uses: int = 1

    def floor(self, cfg: Config) -> float:
        """Cycles with every multiplier busy; 0 for operators without products."""
        return self.spec.macs / cfg.macs_per_cycle if isinstance(self.spec, conv2d.ConvSpec) else 0.0


def is_operator(text: str) -> bool:
    """Whether a name on the command line means an operator rather than a model."""
    return text in CONVOLUTIONS or text.partition(":")[0] in _FORMS


def parse_operator(text: str, cfg: Config) -> Operator:
    """The operator that a text names, in the form that it has on a machine.

    Raises UsageError for an unknown one, for sizes that are missing, unknown or not positive.
    """
    if text in CONVOLUTIONS:
        size, ic, oc, k, stride = CONVOLUTIONS[text]
        return Operator(text, _conv(cfg, 1, ic, size, size, oc, k, stride, k // 2, None))
    name, _, arguments = text.partition(":")
    if name not in _FORMS:
        raise UsageError(f"no operator '{name}'; there are {', '.join(_FORMS)} and C1 to C12")
    required, sizes = _FORMS[name][0], dict(_FORMS[name][1])
    for item in filter(None, arguments.split(",")):
        match = re.fullmatch(r"(\w+)=(\d+)", item)
        if match is None or (match[1] not in required and match[1] not in sizes):
            known = ", ".join([*sorted(required), *sizes])
            raise UsageError(f"'{item}' is not a size of {name}; sizes are written k=3, and there are {known}")
        sizes[match[1]] = int(match[2])
    missing = sorted(required - set(sizes))
    if missing:
        raise UsageError(f"{name} needs {', '.join(missing)}; for example {HELP}")
    bad = [key for key, value in sizes.items() if value < 1 and key not in ("pad", "add")]
    if bad:
        raise UsageError(f"{name}: {', '.join(bad)} must be at least 1")
    spec = _spec(cfg, name, sizes)
    if not isinstance(spec, add.AddSpec) and (spec.oh < 1 or spec.ow < 1):
        raise UsageError(f"{text}: the window is larger than the padded input")
    return Operator(text, spec)


def _spec(cfg: Config, name: str, v: dict[str, int]) -> Spec:
    if name == "dense":
        return conv2d.ConvSpec(v["n"], v["ic"], 1, 1, v["oc"], 1, 1, (1, 1), (0, 0, 0, 0), 0, _QUANT)
    if name == "add":
        return add.AddSpec(v["n"], v["c"], v["h"], v["w"], _RESIDUAL)
    stride, pads = (v["stride"], v["stride"]), (v["pad"], v["pad"], v["pad"], v["pad"])
    if name == "conv2d":
        residual = _RESIDUAL if v["add"] else None
        return _conv(cfg, v["n"], v["ic"], v["h"], v["w"], v["oc"], v["k"], v["stride"], v["pad"], residual)
    sizes = (v["n"], v["c"], v["h"], v["w"])
    if name == "depthwise":
        return conv2d.ConvSpec(*sizes, v["c"], v["k"], v["k"], stride, pads, 0, _QUANT, depthwise=True)
    kind, quant = ("max", None) if name == "max_pool2d" else ("sum", _QUANT)
    return pool.PoolSpec(kind, *sizes, v["k"], v["k"], stride, pads, -128 if quant is None else 0, quant)


_RESIDUAL = ResidualAdd(0, 0, 16, 60000, _QUANT, True)


def _conv(
    cfg: Config, n: int, ic: int, h: int, w: int, oc: int, k: int, stride: int, pad: int, residual: ResidualAdd | None
) -> conv2d.ConvSpec:
    strides = (stride, stride)
    if 2 * ic <= cfg.block_in:  # few channels: an image, read as patches (vdla.target.graph_passes)
        sizes = (n, ic, h + 2 * pad, w + 2 * pad, oc, k, k)
        return conv2d.ConvSpec(*sizes, strides, (0, 0, 0, 0), 0, _QUANT, residual, patch=True)
    return conv2d.ConvSpec(n, ic, h, w, oc, k, k, strides, (pad, pad, pad, pad), 0, _QUANT, residual)
