"""Rewrites of the integer graph that VDLA adds before partitioning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler import te
from compiler.errors import ShapeError
from compiler.graph.ir import Graph, Node, Rewriter, Value, rewrite
from compiler.graph.pass_manager import GraphPass
from compiler.graph.passes.simplify import remove_identities
from compiler.ir import Expr
from compiler.ops import Pattern, TensorType, get_op
from compiler.ops.compute import register_compute
from compiler.ops.registry import REQUIRED, Attrs, OpDef, register
from hw.config import Config

IMAGE_CONV = "image_conv2d"


def _image_as_nchw(x: TensorType, w: TensorType) -> tuple[int, int, int, int]:
    if len(x.shape) != 3 or len(w.shape) != 4 or x.shape[2] % w.shape[1]:
        raise ShapeError(f"{IMAGE_CONV}: image {x.shape} must be [N,H,W*C] for weights {w.shape}")
    return (x.shape[0], w.shape[1], x.shape[1], x.shape[2] // w.shape[1])


def _infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, w = types
    as_conv = {**attrs, "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1, "pad_value": 0}
    return get_op("conv2d").infer([TensorType(_image_as_nchw(x, w), x.dtype), w], as_conv)


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, w = arrays
    n, c, h, width = _image_as_nchw(TensorType(x.shape, x.dtype.name), TensorType(w.shape, w.dtype.name))
    nchw = np.ascontiguousarray(x.reshape(n, h, width, c).transpose(0, 3, 1, 2))
    as_conv = {**attrs, "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1, "pad_value": 0}
    return get_op("conv2d").reference([nchw, w], as_conv)


register(
    OpDef(
        IMAGE_CONV,
        Pattern.COMPLEX,
        _infer,
        _reference,
        arity=(2, 2),
        attrs={"strides": REQUIRED},
        doc="Convolution of an image [N,H,W*C] whose padding is in place, by w [O,C,kh,kw] -> int32 [N,O,H',W'].",
    )
)


@register_compute(IMAGE_CONV)
def _compute(inputs: Sequence[te.Tensor], attrs: Attrs, output: TensorType) -> te.Tensor:
    """The same for targets that compile tensor expressions, where VDLA refuses the group."""
    x, w = inputs
    _, c, kh, kw = w.shape
    rc, ry, rx = te.reduce_axis(c, "rc"), te.reduce_axis(kh, "ry"), te.reduce_axis(kw, "rx")
    sh, sw = attrs["strides"]

    def element(n: Expr, o: Expr, h: Expr, v: Expr) -> Expr:
        pixel = x[n, h * sh + ry, (v * sw + rx) * c + rc].astype("int32")
        return te.sum(pixel * w[o, rc, ry, rx].astype("int32"), axis=(rc, ry, rx))

    return te.compute(output.shape, element, IMAGE_CONV)


def dense_as_convolution(graph: Graph) -> Graph:
    """requantize(dense(reshape(x [N,C,H,W]))) becomes a convolution with a kernel of HxW: the tensor need not be
    unpacked to be flattened."""

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        dense = _requantized_dense(node, inputs)
        reshape = None if dense is None else dense.inputs[0].producer
        if dense is None or reshape is None or reshape.op != "reshape":
            return None
        x = reshape.inputs[0]
        if len(x.shape) != 4 or dense.inputs[0].shape[0] != x.shape[0]:
            return None
        return _shaped(rewriter, node, _convolved(rewriter, node, inputs[1], dense, x, x.shape[2:]))

    return rewrite(graph, visit)


def rows_as_pixels(cfg: Config, graph: Graph) -> Graph:
    """requantize(dense(x [N,K])) of more rows than the machine has lanes for images becomes a 1x1 convolution of as few
    images as fill those, whose pixels are the rows: a tile of them shares the weights that it loads."""
    lanes = cfg.batch

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        dense = _requantized_dense(node, inputs)
        if dense is None:
            return None
        x = dense.inputs[0]
        (rows, depth), (_, outputs) = x.shape, node.output.shape
        if rows <= lanes or rows % lanes:
            return None
        pixels = rows // lanes

        def move(value: Value, op: str, **attrs: object) -> Value:
            return rewriter.graph.op(op, [value], attrs, name=f"{node.name}.{op}", quant=value.quant)

        x = move(move(x, "reshape", shape=(pixels, lanes, depth)), "transpose", perm=(1, 2, 0))
        x = move(x, "reshape", shape=(lanes, depth, pixels, 1))
        y = _convolved(rewriter, node, inputs[1], dense, x, (1, 1))
        y = move(y, "reshape", shape=(lanes, outputs, pixels))
        return _shaped(rewriter, node, move(y, "transpose", perm=(2, 0, 1)))

    return remove_identities(rewrite(graph, visit))


def _requantized_dense(node: Node, inputs: Sequence[Value]) -> Node | None:
    """The dense layer with a constant weight that a visited requantize reads."""
    dense = inputs[0].producer if node.op == "requantize" else None
    if dense is None or dense.op != "dense" or len(dense.inputs) != 2:
        return None
    return None if dense.inputs[1].const is None else dense


def _convolved(rewriter: Rewriter, node: Node, params: Value, dense: Node, x: Value, kernel: Sequence[int]) -> Value:
    """The visited requantize of a dense layer as that of a convolution of x with the same weights as [O,C,*kernel]."""
    new, out, w = rewriter.graph, node.output, dense.inputs[1]
    assert w.const is not None
    weight = new.const(w.const.reshape(w.shape[0], x.shape[1], *kernel), f"{w.name}.kernel")
    sums = new.op("conv2d", [x, weight], {"strides": (1, 1)}, name=dense.name, output=f"{dense.output.name}.conv")
    return new.op("requantize", [sums, params], node.attrs, name=node.name, output=f"{out.name}.conv", quant=out.quant)


def _shaped(rewriter: Rewriter, node: Node, value: Value) -> Value:
    """A value that stands for the visited node's, in its shape and under its name."""
    out = node.output
    return rewriter.graph.op(
        "reshape", [value], {"shape": out.shape}, name=f"{node.name}.flat", output=out.name, origin=out.origin,
        quant=out.quant,
    )  # fmt: skip


def image_convolution(cfg: Config, graph: Graph) -> Graph:
    """The first convolution, when its image has few channels, reads the image as rows of pixels.

    Padding and transposition join the quantisation of the input; the DMA builds the patches.
    """

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        if node.op != "conv2d" or node.attrs["groups"] != 1 or tuple(node.attrs["dilations"]) != (1, 1):
            return None
        x, w = inputs
        n, c, h, width = x.shape
        if x.dtype != "int8" or 2 * c > cfg.block_in or x.producer is None or x.producer.op != "quantize":
            return None
        new = rewriter.graph
        top, left, bottom, right = node.attrs["pads"]
        if any(node.attrs["pads"]):
            attrs = {"before": (0, 0, top, left), "after": (0, 0, bottom, right), "value": node.attrs["pad_value"]}
            x = new.op("pad", [x], attrs, name=f"{node.name}.pad", quant=x.quant)
        x = new.op("transpose", [x], {"perm": (0, 2, 3, 1)}, name=f"{node.name}.pixels", quant=x.quant)
        shape = (n, h + top + bottom, (width + left + right) * c)
        x = new.op("reshape", [x], {"shape": shape}, name=f"{node.name}.rows", quant=x.quant)
        out = node.output
        return new.op(
            IMAGE_CONV, [x, w], {"strides": node.attrs["strides"]}, name=node.name, output=out.name, origin=out.origin,
            quant=out.quant,
        )  # fmt: skip

    return rewrite(graph, visit)


def vdla_passes(cfg: Config) -> list[GraphPass]:
    """The passes in order."""
    return [
        GraphPass("dense_as_convolution", dense_as_convolution),
        GraphPass("rows_as_pixels", lambda graph: rows_as_pixels(cfg, graph)),
        GraphPass("image_convolution", lambda graph: image_convolution(cfg, graph)),
    ]
