"""VDLA as a target of the compiler: what it takes and why not, its layouts, and its fused groups as layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from compiler.graph.fuse import FusedGroup
from compiler.graph.ir import Node, Value
from compiler.graph.pass_manager import GraphPass
from compiler.ops.quantization import pack_params
from compiler.target import NodeLayouts, Target
from hw.config import Config
from vdla.target.emit import Emitter
from vdla.target.errors import CapacityError, LoweringError
from vdla.target.graph_passes import IMAGE_CONV, vdla_passes
from vdla.target.layout import act_layout, pack_depthwise_weights, pack_patch_weights, pack_weights
from vdla.target.layout import pack_params as pack_entries
from vdla.target.ops import add, conv2d, pool
from vdla.target.ops.common import Requantization, ResidualAdd, Tile

ANCHORS = ("conv2d", IMAGE_CONV, "dense", "max_pool2d", "avg_pool2d_sum", "qadd")
TAKEN = (*ANCHORS, "requantize")

HOST_REASONS = {
    "quantize": "the model's float input becomes int8 on the host",
    "dequantize": "int8 results become floats on the host",
    **dict.fromkeys(("pad", "transpose", "reshape", "layout_transform", "concat"), "moves data only"),
}
"""Why the operators at the border of a network are not VDLA's."""


class Tiles(Protocol):
    """Tiles that are known to be good (from tuning): None where none is, and the estimate decides."""

    def conv_tile(self, spec: conv2d.ConvSpec) -> conv2d.ConvTile | None:
        """Of a convolution or dense group."""
        ...

    def vector_tile(self, spec: pool.PoolSpec | add.AddSpec) -> Tile | None:
        """Of a pooling group or an addition."""
        ...


@dataclass(frozen=True)
class VdlaLayer:
    """A fused group as VDLA runs it.

    ``args``: the arguments of the program in order: graph values (activations) or constants ready for DRAM.
    """

    name: str
    op: str
    emitter: Emitter
    args: tuple[Value | np.ndarray, ...]
    macs: int
    nodes: tuple[str, ...]


class VdlaTarget(Target):
    """The accelerator of one configuration.

    Args:
        cfg: the machine.
        virtual_threads: hide memory latency by two virtual threads (off: for comparison).
        tiles: asked for each group's tile before it is chosen by estimate.
    """

    name = "vdla"

    def __init__(self, cfg: Config, *, virtual_threads: bool = True, tiles: Tiles | None = None) -> None:
        self.cfg = cfg
        self.virtual_threads = virtual_threads
        self.tiles = tiles

    # ------------------------------------------------------------------------------------------ what it takes

    def supports(self, node: Node) -> str | None:
        """None, or the reason why VDLA does not run the node."""
        if node.op in HOST_REASONS:
            return HOST_REASONS[node.op]
        if node.op not in TAKEN:
            return f"VDLA has no {node.op}"
        if node.inputs[0].dtype not in ("int8", "int32"):
            return f"VDLA computes on int8, {node.inputs[0].name} is {node.inputs[0].dtype}"
        if node.op in ("conv2d", "dense", IMAGE_CONV):
            if len(node.inputs) != 2 or node.inputs[1].const is None:
                return "the weights must be constant"
        if node.op == "conv2d":
            if node.attrs["groups"] != 1:
                if not _is_depthwise(node):
                    return f"grouped convolution (groups={node.attrs['groups']})"
                if self.cfg.block_out < self.cfg.block_in:
                    return "depthwise convolution needs block_out >= block_in"
            if tuple(node.attrs["dilations"]) != (1, 1):
                return f"dilation {node.attrs['dilations']}"
        if node.op == "requantize":
            if node.inputs[1].const is None:
                return "the requantisation parameters must be constant"
            if len(node.inputs[0].shape) not in (2, 4):
                return f"the tensor has {len(node.inputs[0].shape)} dimensions, VDLA takes [N,C] and [N,C,H,W]"
        if node.op == "qadd":
            a, b = node.inputs
            if a.shape != b.shape or len(a.shape) != 4:
                return f"VDLA adds tensors [N,C,H,W] of equal shape, got {a.shape} and {b.shape}"
            if a.const is not None or b.const is not None:
                return "an operand of the addition is constant"
        return None

    def supports_group(self, group: FusedGroup) -> str | None:
        """None, or why the group cannot run: its form, or a buffer it does not fit."""
        ops = [node.op for node in group.nodes]
        forms = {
            "conv2d": (["requantize"], ["requantize", "qadd"]),
            IMAGE_CONV: (["requantize"], ["requantize", "qadd"]),
            "dense": (["requantize"],),
            "avg_pool2d_sum": (["requantize"],),
            "max_pool2d": ([],),
            "qadd": ([],),
        }
        if ops[0] not in forms or ops[1:] not in forms[ops[0]]:
            return f"VDLA has no program for {' + '.join(ops)} (32-bit results do not leave the accelerators)"
        if ops[-1] == "qadd" and len(ops) > 1 and group.nodes[-1].inputs[0] is group.nodes[-1].inputs[1]:
            return "a fused addition takes its other operand from DRAM, this one adds the result to itself"
        try:
            self._emitter(group)
        except CapacityError as error:
            return str(error)
        return None

    # ------------------------------------------------------------------------------------------ layouts

    def preferred_layouts(self, node: Node) -> NodeLayouts | None:
        """Packed activations; images and constants as they are."""
        packed = act_layout(self.cfg)
        if node.op == IMAGE_CONV:
            return NodeLayouts((None, None), packed)
        inputs = tuple(None if value.const is not None else packed for value in node.inputs)
        return NodeLayouts(inputs, packed)

    def graph_passes(self) -> Sequence[GraphPass]:
        return vdla_passes(self.cfg)

    # ------------------------------------------------------------------------------------------ compilation

    def compile(self, group: FusedGroup, **options: Any) -> VdlaLayer:
        """The layer for one group.

        Raises CapacityError when it does not fit the buffers, LoweringError when it has no program.
        """
        cfg, anchor = self.cfg, group.nodes[0]
        args: list[Value | np.ndarray] = [anchor.inputs[0]]
        macs = 0
        if anchor.op in ("conv2d", "dense", IMAGE_CONV):
            spec = self._conv_spec(group)
            macs = spec.macs
            pack = pack_depthwise_weights if spec.depthwise else pack_patch_weights if spec.patch else pack_weights
            args.append(pack(cfg, _constant(anchor.inputs[1]).reshape(spec.oc, -1, spec.kh, spec.kw)))
        elif anchor.op == "qadd":
            args.append(anchor.inputs[1])
        for node in group.nodes:
            if node.op == "requantize":
                args.append(pack_entries(cfg, _constant(node.inputs[1])))
            elif node.op == "qadd":
                if node is not anchor:
                    args.append(self._other_operand(group, node))
                args.append(self._add_params(node))
        args.append(group.output)
        names = tuple(node.name for node in group.nodes)
        label = "+".join({IMAGE_CONV: "conv2d", "qadd": "add"}.get(n.op, n.op) for n in group.nodes)
        return VdlaLayer(group.name, label, self._emitter(group), tuple(args), macs, names)

    def _emitter(self, group: FusedGroup) -> Emitter:
        spec, threads, tiles = self._spec(group), self.virtual_threads, self.tiles
        if isinstance(spec, conv2d.ConvSpec):
            return conv2d.TEMPLATE.emitter(self.cfg, spec, threads, None if tiles is None else tiles.conv_tile(spec))
        if isinstance(spec, add.AddSpec):
            return add.TEMPLATE.emitter(self.cfg, spec, threads, None if tiles is None else tiles.vector_tile(spec))
        return pool.TEMPLATE.emitter(self.cfg, spec, threads, None if tiles is None else tiles.vector_tile(spec))

    def _spec(self, group: FusedGroup) -> conv2d.ConvSpec | pool.PoolSpec | add.AddSpec:
        anchor = group.nodes[0]
        if anchor.op in ("conv2d", "dense", IMAGE_CONV):
            return self._conv_spec(group)
        n, c, h, w = anchor.inputs[0].shape
        if anchor.op == "qadd":
            return add.AddSpec(n, c, h, w, self._residual(anchor, first=True))
        attrs = anchor.attrs
        kh, kw = attrs["kernel"]
        shape = (n, c, h, w, kh, kw, tuple(attrs["strides"]), tuple(attrs["pads"]))
        if anchor.op == "max_pool2d":
            return pool.PoolSpec("max", *shape, pad_value=-128)
        return pool.PoolSpec("sum", *shape, pad_value=attrs["pad_value"], quant=_quant(group.nodes[1]))

    def _conv_spec(self, group: FusedGroup) -> conv2d.ConvSpec:
        node = group.nodes[0]
        quant = _quant(group.nodes[1])
        add_node = group.nodes[2] if len(group.nodes) > 2 else None
        residual = None if add_node is None else self._residual(add_node, first=self._is_first(group, add_node))
        w = node.inputs[1].shape
        shape = node.inputs[0].shape
        if node.op == "dense":
            return conv2d.ConvSpec(
                shape[0], shape[1], 1, 1, w[0], 1, 1, (1, 1), (0, 0, 0, 0), 0, quant, residual
            )  # fmt: skip
        strides = tuple(node.attrs["strides"])
        if node.op == IMAGE_CONV:
            n, h, row = shape
            return conv2d.ConvSpec(
                n, w[1], h, row // w[1], w[0], w[2], w[3], strides, (0, 0, 0, 0), 0, quant, residual, patch=True
            )
        n, c, h, width = shape
        pads, value, depthwise = tuple(node.attrs["pads"]), node.attrs["pad_value"], node.attrs["groups"] != 1
        sizes = (n, c, h, width, w[0], w[2], w[3])
        return conv2d.ConvSpec(*sizes, strides, pads, value, quant, residual, depthwise=depthwise)

    def _is_first(self, group: FusedGroup, node: Node) -> bool:
        return node.inputs[0].producer is group.nodes[1]

    def _other_operand(self, group: FusedGroup, node: Node) -> Value:
        return node.inputs[1] if self._is_first(group, node) else node.inputs[0]

    def _residual(self, node: Node, *, first: bool) -> ResidualAdd:
        a = node.attrs
        return ResidualAdd(a["za"], a["zb"], a["k"], a["m2"], _quant(node), first)

    def _add_params(self, node: Node) -> np.ndarray:
        """The parameter entry of an addition: the zero points' share as the bias, the common factor."""
        a, lanes = node.attrs, self.cfg.block_out
        bias = -(a["za"] << a["k"]) - a["zb"] * a["m2"]
        entry = pack_params(np.full(lanes, bias), np.full(lanes, a["mult"]), np.full(lanes, a["shift"]))
        return entry.reshape(1, lanes, 2)


def _quant(node: Node) -> Requantization:
    return Requantization(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"])


def _is_depthwise(node: Node) -> bool:
    return node.attrs["groups"] == node.inputs[0].shape[1] == node.output.shape[1]


def _constant(value: Value) -> np.ndarray:
    if value.const is None:
        raise LoweringError(f"{value.name} must be constant")
    return value.const
