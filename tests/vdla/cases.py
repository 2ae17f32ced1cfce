"""Groups to run on VDLA: builders for each operator family, and hypothesis strategies for groups and machines."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from compiler.graph.ir import Graph, Value
from compiler.ops.quantization import add_multipliers, pack_params
from hw.config import Config, MemoryConfig
from hw.errors import ConfigError
from vdla.target.graph_passes import IMAGE_CONV


@dataclass(frozen=True)
class Case:
    """One fused group.

    ``family``: conv, depthwise, image (patch form), dense, max, sum (average pooling) or add.  ``add``: residual
    addition behind a convolution whose own result is the "first" or the "second" operand; empty for none.
    """

    family: str
    n: int = 1
    c: int = 8
    h: int = 6
    w: int = 6
    oc: int = 8
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0
    add: str = ""
    seed: int = 0

    def build(self) -> Graph:
        """The group as a graph of its own; int8 inputs "x" and, for additions, "other"."""
        rng = np.random.default_rng(self.seed)
        g = Graph(self.family)
        return getattr(_Builder(g, rng, self), self.family)()


@dataclass
class _Builder:
    g: Graph
    rng: np.random.Generator
    case: Case
    zero_points: list[int] = field(default_factory=list)

    def _weights(self, *shape: int) -> Value:
        return self.g.const(self.rng.integers(-128, 128, shape).astype(np.int8), "w")

    def _requantize(self, acc: Value, size: float) -> Value:
        """To int8, where accumulators are about ``size``: a few are clipped, most are not."""
        channels = acc.shape[1]
        mult = self.rng.integers(1 << 16, 1 << 17, channels)
        sign = self.rng.choice([-1, 1], channels, p=[0.1, 0.9])
        shift = int(np.clip(round(17 + math.log2(max(size, 1) / 40)), 0, 47)) + self.rng.integers(-1, 2, channels)
        bias = self.rng.integers(-int(size) - 1, int(size) + 2, channels)
        params = self.g.const(pack_params(bias, mult * sign, np.clip(shift, 0, 47)), "p")
        low, high = (-128, 127) if self.rng.random() < 0.5 else (int(self.rng.integers(-120, 0)), 117)
        attrs = {"zero_point": int(self.rng.integers(-20, 20)), "low": low, "high": high}
        return self.g.op("requantize", [acc, params], attrs)

    def _add(self, a: Value, b: Value) -> Value:
        scales = np.sort(self.rng.uniform(0.01, 1.0, 2)) if self.rng.random() < 0.8 else np.array([0.0004, 1.0])
        attrs = add_multipliers(scales[1], scales[0], float(scales.sum()))
        za, zb, zero_point = (int(z) for z in self.rng.integers(-128, 128, 3))
        clip = {"zero_point": zero_point // 4, "low": -128, "high": 127}
        return self.g.op("qadd", [a, b], {**attrs, "za": za, "zb": zb, **clip})

    def _finish(self, acc: Value, size: float) -> Graph:
        result = self._requantize(acc, size)
        if self.case.add:
            other = self.g.input("other", result.shape, "int8")
            result = self._add(*((result, other) if self.case.add == "first" else (other, result)))
        return self._done(result)

    def _done(self, result: Value) -> Graph:
        self.g.mark_output(result)
        return self.g

    def _image(self) -> Value:
        k = self.case
        return self.g.input("x", (k.n, k.c, k.h, k.w), "int8")

    def conv(self) -> Graph:
        k = self.case
        weights = self._weights(k.oc, k.c, *k.kernel)
        attrs = {"strides": k.strides, "pads": k.pads, "pad_value": k.pad_value}
        return self._finish(
            self.g.op("conv2d", [self._image(), weights], attrs), 5500 * math.sqrt(k.c * math.prod(k.kernel))
        )

    def depthwise(self) -> Graph:
        k = self.case
        weights = self._weights(k.c, 1, *k.kernel)
        attrs = {"strides": k.strides, "pads": k.pads, "pad_value": k.pad_value, "groups": k.c}
        acc = self.g.op("conv2d", [self._image(), weights], attrs)
        return self._finish(acc, 5500 * math.sqrt(math.prod(k.kernel)))

    def image(self) -> Graph:
        k = self.case
        x = self.g.input("x", (k.n, k.h, k.w * k.c), "int8")
        weights = self._weights(k.oc, k.c, *k.kernel)
        acc = self.g.op(IMAGE_CONV, [x, weights], {"strides": k.strides})
        return self._finish(acc, 5500 * math.sqrt(k.c * math.prod(k.kernel)))

    def dense(self) -> Graph:
        k = self.case
        x = self.g.input("x", (k.n, k.c), "int8")
        acc = self.g.op("dense", [x, self._weights(k.oc, k.c)])
        return self._done(self._requantize(acc, 5500 * math.sqrt(k.c)))

    def max(self) -> Graph:
        k = self.case
        attrs = {"kernel": k.kernel, "strides": k.strides, "pads": k.pads}
        return self._done(self.g.op("max_pool2d", [self._image()], attrs))

    def sum(self) -> Graph:
        k = self.case
        attrs = {"kernel": k.kernel, "strides": k.strides, "pads": k.pads, "pad_value": k.pad_value}
        return self._done(
            self._requantize(self.g.op("avg_pool2d_sum", [self._image()], attrs), 74 * math.prod(k.kernel))
        )

    def add(self) -> Graph:
        x = self._image()
        return self._done(self._add(x, self.g.input("other", x.shape, "int8")))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Small groups of every family."""
    family = draw(st.sampled_from(["conv", "conv", "conv", "depthwise", "image", "dense", "max", "sum", "add"]))
    seed = draw(st.integers(0, 1 << 16))
    n = draw(st.sampled_from([1, 1, 2, 3, 5]))
    c, oc = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    if family == "dense":
        return Case("dense", n=n, c=draw(st.integers(1, 200)), oc=oc, seed=seed)
    h, w = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    if family == "add":
        return Case("add", n=n, c=c, h=h, w=w, seed=seed)
    if family == "image":
        c = draw(st.integers(1, 4))
    kernel = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    pads = (0, 0, 0, 0)
    if family != "image" and draw(st.booleans()):
        top, bottom = (draw(st.integers(0, kernel[0] - 1)) for _ in range(2))
        left, right = (draw(st.integers(0, kernel[1] - 1)) for _ in range(2))
        pads = (top, left, bottom, right)
    assume(h + pads[0] + pads[2] >= kernel[0] and w + pads[1] + pads[3] >= kernel[1])
    add = draw(st.sampled_from(["", "", "first", "second"])) if family in ("conv", "depthwise", "image") else ""
    pad_value = draw(st.integers(-128, 127)) if any(pads) and family != "max" else 0
    return Case(family, n, c, h, w, oc, kernel, strides, pads, pad_value, add, seed)


@st.composite
def machines(draw: st.DrawFn) -> Config:
    """Legal configurations, most of them too small for comfort."""
    batch = draw(st.sampled_from([1, 1, 2, 4, 8]))
    block_in, block_out = (draw(st.sampled_from([4, 4, 8, 16, 32])) for _ in range(2))
    rows = batch * block_out
    parameters = -(-8 // batch)
    axi = draw(st.sampled_from(["axi3", "axi4"]))
    try:
        return Config(
            name="random",
            batch=batch,
            block_in=block_in,
            block_out=block_out,
            uop_buffer=8 * draw(st.integers(2, 200)),
            inp_buffer=batch * block_in * draw(st.integers(2, 200)),
            wgt_buffer=block_in * block_out * draw(st.integers(2, 80)),
            acc_buffer=4 * rows * draw(st.integers(2, 200)),
            out_buffer=rows * draw(st.integers(2, 200)),
            aux_buffer=rows * (parameters + draw(st.integers(0, 200)) + 1),
            load_queue=draw(st.integers(2, 9)),
            compute_queue=draw(st.integers(2, 9)),
            store_queue=draw(st.integers(2, 9)),
            token_depth=draw(st.sampled_from([1, 2, 3, 7, 63])),
            bus_bits=draw(st.sampled_from([32, 64, 128, 256])),
            axi=axi,
            burst_beats=draw(st.integers(1, 16 if axi == "axi3" else 64)),
            memory=MemoryConfig(
                read_latency=draw(st.integers(1, 40)),
                write_latency=draw(st.integers(1, 40)),
                read_outstanding=draw(st.integers(1, 8)),
                write_outstanding=draw(st.integers(1, 8)),
                **draw(
                    st.sampled_from(
                        [{}, {}, {"stall_seed": 1, "stall_rate": 0.2}, {"stall_seed": 2, "stall_rate": 0.7}]
                    )
                ),
            ),
        )
    except ConfigError:
        assume(False)
        raise
