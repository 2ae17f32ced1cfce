"""Converters of ONNX operators that move elements: slices, pads, gathers, scatters, resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx

from compiler.frontend.onnx_elementwise import cast_to
from compiler.frontend.onnx_node import (
    Context,
    NodeView,
    Reject,
    axis_of,
    const_of,
    integers_of,
    need,
    optional,
    scalar_of,
)
from compiler.frontend.onnx_registry import register_converter
from compiler.graph.ir import Value

Operands = list[Value | None]

# Elements that a resized one is made of are picked if they are at most one in so many of the axis; else all are summed.
_FEW_OF = 4


def slice_attrs(shape: Sequence[int], ranges: dict[int, range]) -> dict[str, tuple[int, ...]]:
    """Attributes of the operator `slice` that takes `ranges` along some axes and everything along the others."""
    taken = [ranges.get(axis, range(extent)) for axis, extent in enumerate(shape)]
    if any(len(r) == 0 for r in taken):
        raise Reject(f"a slice of {tuple(shape)} is empty")
    return {
        "starts": tuple(r.start for r in taken),
        "steps": tuple(r.step for r in taken),
        "shape": tuple(map(len, taken)),
    }


@register_converter("Slice")
def _slice(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    if context.opset < 10:
        starts, ends = node.integers("starts", ()), node.integers("ends", ())
        axes, steps = node.integers("axes", range(len(starts))), (1,) * len(starts)
    else:
        starts, ends = integers_of(operands, 1, "starts") or (), integers_of(operands, 2, "ends") or ()
        axes = integers_of(operands, 3, "axes") or range(len(starts))
        steps = integers_of(operands, 4, "steps") or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise Reject(f"starts {starts}, ends {ends}, axes {axes}, steps {steps} do not fit together")
    ranges = {}
    for start, end, listed, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis_of(listed, len(x.shape))
        ranges[axis] = range(*slice(start, end, step).indices(x.shape[axis]))
    return context.finish(node, "slice", [x], slice_attrs(x.shape, ranges))


@register_converter("Split")
def _split(context: Context, node: NodeView, operands: Operands) -> tuple[Value, ...]:
    x = need(operands, 0, "the input")
    axis = axis_of(node.integer("axis"), len(x.shape))
    extent, parts = x.shape[axis], node.integer("num_outputs", len(node.outputs))
    given = integers_of(operands, 1, "the sizes") or list(node.integers("split", ()))
    size = -(-extent // parts)
    sizes = given or [min(size, extent - i * size) for i in range(parts)]
    if sum(sizes) != extent or len(sizes) != len(node.outputs) or min(sizes) < 0:
        raise Reject(f"sizes {sizes} do not split the extent {extent} into {len(node.outputs)}")
    results, start = [], 0
    for index, count in enumerate(sizes):
        attrs = slice_attrs(x.shape, {axis: range(start, start + count)})
        results.append(context.finish(node, "slice", [x], attrs, output=index))
        start += count
    return tuple(results)


@register_converter("ConstantOfShape")
def _constant_of_shape(context: Context, node: NodeView, operands: Operands) -> Value:
    """Reached only with a shape that is no constant, to say so."""
    integers_of(operands, 0, "the shape")
    raise Reject("the shape is missing")


@register_converter("Range")
def _range(context: Context, node: NodeView, operands: Operands) -> Value:
    start, limit, step = (const_of(operands, i, what) for i, what in enumerate(("the start", "the limit", "the step")))
    if start is None or limit is None or step is None or start.size != 1 or limit.size != 1 or not step.any():
        raise Reject("start, limit and step must be numbers, the step not 0")
    values = np.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)
    return context.constant(values, node.outputs[0])


@register_converter("Expand")
def _expand(context: Context, node: NodeView, operands: Operands) -> Value:
    x, wanted = need(operands, 0, "the input"), integers_of(operands, 1, "the shape")
    if wanted is None:
        raise Reject("the shape is missing")
    try:
        shape = tuple(np.broadcast_shapes(x.shape, tuple(wanted)))
    except ValueError:
        raise Reject(f"{x.shape} does not broadcast with {wanted}") from None
    return context.finish(node, "broadcast_to", [x], {"shape": shape})


@register_converter("Tile")
def _tile(context: Context, node: NodeView, operands: Operands) -> Value:
    repeats = integers_of(operands, 1, "the repeats")
    if repeats is None:
        raise Reject("the repeats are missing")
    return context.finish(node, "tile", [need(operands, 0, "the input")], {"repeats": tuple(repeats)})


@register_converter("Pad")
def _pad(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    mode = node.text("mode", "constant")
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise Reject(f"mode '{mode}' is unknown")
    given, axes = integers_of(operands, 1, "pads"), integers_of(operands, 3, "axes")
    value = scalar_of(operands, 2, "the value")
    pads = node.integers("pads", ()) if given is None else given
    fill = node.number("value", 0.0) if value is None else value
    rank = len(x.shape)
    listed = list(range(rank)) if axes is None else [axis_of(axis, rank) for axis in axes]
    if len(pads) != 2 * len(listed):
        raise Reject(f"{len(pads)} pads do not fit {len(listed)} axes")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(listed):
        before[axis], after[axis] = pads[i], pads[len(listed) + i]
    if min(*before, *after) < 0:
        kept = {a: range(max(0, -before[a]), n - max(0, -after[a])) for a, n in enumerate(x.shape)}
        x = context.emit(node, "slice", [x], slice_attrs(x.shape, kept))
        before, after = [max(0, n) for n in before], [max(0, n) for n in after]
    if mode == "constant":
        attrs = {"before": tuple(before), "after": tuple(after), "value": fill}
        return context.finish(node, "pad", [x], attrs)
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        if low or high:
            index = np.pad(np.arange(x.shape[axis]), (low, high), mode=mode)  # type: ignore[call-overload]
            index = context.constant(index, f"{node.name}.index{axis}")
            x = context.emit(node, "gather", [x, index], {"axis": axis})
    return context.finish(node, "identity", [x])


@register_converter("Gather", "GatherElements")
def _gather(context: Context, node: NodeView, operands: Operands) -> Value:
    x, indices = need(operands, 0, "the input"), need(operands, 1, "the indices")
    op = "gather" if node.op == "Gather" else "gather_elements"
    return context.finish(node, op, [x, indices], {"axis": axis_of(node.integer("axis"), len(x.shape))})


@register_converter("GatherND")
def _gather_nd(context: Context, node: NodeView, operands: Operands) -> Value:
    inputs = [need(operands, 0, "the input"), need(operands, 1, "the indices")]
    return context.finish(node, "gather_nd", inputs, {"batch_dims": node.integer("batch_dims")})


@register_converter("Scatter", "ScatterElements", "ScatterND")
def _scatter(context: Context, node: NodeView, operands: Operands) -> Value:
    inputs = [need(operands, i, "an operand") for i in range(3)]
    attrs: dict[str, object] = {"reduction": node.text("reduction", "none")}
    if node.op == "ScatterND":
        return context.finish(node, "scatter_nd", inputs, attrs)
    attrs["axis"] = axis_of(node.integer("axis"), len(inputs[0].shape))
    return context.finish(node, "scatter_elements", inputs, attrs)


@register_converter("OneHot")
def _one_hot(context: Context, node: NodeView, operands: Operands) -> Value:
    indices, values = need(operands, 0, "the indices"), need(operands, 2, "the values")
    depth = scalar_of(operands, 1, "the depth")
    if depth is None or values.shape != (2,):
        raise Reject("a depth and two values are needed")
    count, rank = int(depth), len(indices.shape) + 1
    axis = axis_of(node.integer("axis", -1), rank)
    shape = [*indices.shape[:axis], 1, *indices.shape[axis:]]
    index = context.emit(node, "reshape", [indices], {"shape": tuple(shape)})
    index = context.emit(node, "cast", [index], {"dtype": "int64"})
    wrapped = context.emit(node, "add", [index, context.number(node, count, index)])
    negative = context.emit(node, "less", [index, context.number(node, 0, index)])
    index = context.emit(node, "where", [negative, wrapped, index])
    positions = np.arange(count).reshape([-1 if i == axis else 1 for i in range(rank)])
    hit = context.emit(node, "equal", [index, context.constant(positions, f"{node.name}.positions")])
    off, on = (context.emit(node, "slice", [values], slice_attrs((2,), {0: range(i, i + 1)})) for i in (0, 1))
    return context.finish(node, "where", [hit, on, off])


@register_converter("Trilu")
def _trilu(context: Context, node: NodeView, operands: Operands) -> Value:
    x, diagonal = need(operands, 0, "the input"), int(scalar_of(operands, 1, "k") or 0)
    if len(x.shape) < 2:
        raise Reject(f"the input {x.shape} holds no matrices")
    everything = np.ones(x.shape[-2:], bool)
    kept = np.triu(everything, diagonal) if node.integer("upper", 1) else np.tril(everything, diagonal)
    mask = context.constant(kept, f"{node.name}.kept")
    return context.finish(node, "where", [mask, x, context.number(node, 0, x)])


@register_converter("EyeLike")
def _eye_like(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    if len(x.shape) != 2:
        raise Reject(f"the input {x.shape} is no matrix")
    dtype = cast_to(node.integer("dtype")) if "dtype" in node.attrs else x.dtype
    return context.constant(np.eye(*x.shape, k=node.integer("k"), dtype=dtype), node.outputs[0])


@register_converter("DepthToSpace", "SpaceToDepth")
def _depth_to_space(context: Context, node: NodeView, operands: Operands) -> Value:
    x, block = need(operands, 0, "the input"), node.integer("blocksize")
    if len(x.shape) != 4 or block < 1:
        raise Reject(f"input {x.shape} and block size {block} do not fit")
    n, c, h, w = x.shape
    if node.op == "SpaceToDepth":
        if h % block or w % block:
            raise Reject(f"block size {block} does not divide {x.shape}")
        split = (n, c, h // block, block, w // block, block)
        perm = (0, 3, 5, 1, 2, 4) if node.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
        shape = (n, c * block * block, h // block, w // block)
    else:
        if c % (block * block):
            raise Reject(f"block size {block} does not divide {x.shape}")
        left = c // (block * block)
        if node.text("mode", "DCR") == "DCR":
            split, perm = (n, block, block, left, h, w), (0, 3, 4, 1, 5, 2)
        else:
            split, perm = (n, left, block, block, h, w), (0, 1, 4, 2, 5, 3)
        shape = (n, left, h * block, w * block)
    parts = context.emit(node, "reshape", [x], {"shape": split})
    moved = context.emit(node, "transpose", [parts], {"perm": perm})
    return context.finish(node, "reshape", [moved], {"shape": shape})


@register_converter("Resize")
def _resize(context: Context, node: NodeView, operands: Operands) -> Value:
    """Every axis by itself: interpolation is linear in the elements, so ONNX's reference applied to the unit vectors
    gives the weights; where each output is one element (nearest) it is picked instead, where it is made of few (linear,
    cubic) those are picked and weighted."""
    x = need(operands, 0, "the input")
    rank = len(x.shape)
    if node.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise Reject("tf_crop_and_resize is not implemented")
    axes = [axis_of(a, rank) for a in node.integers("axes", range(rank))]
    scales, sizes = const_of(operands, 2, "the scales"), integers_of(operands, 3, "the sizes")
    if sizes:
        if (policy := node.text("keep_aspect_ratio_policy", "stretch")) != "stretch":
            ratios = [size / x.shape[axis] for size, axis in zip(sizes, axes, strict=True)]
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            sizes = [math.floor(x.shape[axis] * ratio + 0.5) for axis in axes]
            factors = [ratio] * len(axes)
        else:
            factors = [size / x.shape[axis] for size, axis in zip(sizes, axes, strict=True)]
    elif scales is not None and scales.size == len(axes):
        factors = [float(scale) for scale in scales]
        sizes = [math.floor(x.shape[axis] * scale) for axis, scale in zip(axes, factors, strict=True)]
    else:
        raise Reject("neither scales nor sizes fit the axes")
    for axis, size, factor in zip(axes, sizes, factors, strict=True):
        if factor == 1.0:
            continue
        weights = _interpolation(
            context, node, x.shape[axis], None if scales is None or not scales.size else factor, size
        )
        taken = weights.argmax(axis=1)
        if (weights == np.eye(x.shape[axis], dtype=np.float32)[taken]).all():
            index = context.constant(taken, f"{node.name}.index{axis}")
            x = context.emit(node, "gather", [x, index], {"axis": axis})
            continue
        if x.dtype != "float32":
            raise Reject(f"interpolation of {x.dtype} is not implemented")
        count = int((weights != 0).sum(axis=1).max())
        if count * _FEW_OF <= x.shape[axis]:
            x = _weighted(context, node, x, axis, weights, count)
            continue
        letters = "abcdefgh"[:rank]
        equation = f"{letters},z{letters[axis]}->{letters.replace(letters[axis], 'z')}"
        x = context.emit(
            node, "einsum", [x, context.constant(weights, f"{node.name}.weights{axis}")], {"equation": equation}
        )
    return context.finish(node, "identity", [x])


def _weighted(context: Context, node: NodeView, x: Value, axis: int, weights: np.ndarray, count: int) -> Value:
    """The sum of the at most `count` elements along an axis that have a weight in [size, extent]."""
    taken = np.argsort(weights == 0, axis=1, kind="stable")[:, :count]
    total: Value | None = None
    for number, index in enumerate(taken.T):
        name = f"{node.name}.{axis}.{number}"
        part = context.emit(node, "gather", [x, context.constant(index, f"{name}.index")], {"axis": axis})
        factors = np.take_along_axis(weights, index[:, None], axis=1).reshape(-1, *(1,) * (len(x.shape) - 1 - axis))
        part = context.emit(node, "mul", [part, context.constant(factors, f"{name}.weights")])
        total = part if total is None else context.emit(node, "add", [total, part])
    assert total is not None
    return total


def _interpolation(context: Context, node: NodeView, extent: int, scale: float | None, size: int) -> np.ndarray:
    """[size, extent]: what each output takes of each element along one axis."""
    from onnx.reference import ReferenceEvaluator  # slow to import, and few models need it

    kept = {k: v for k, v in node.attrs.items() if k not in ("axes", "keep_aspect_ratio_policy")}
    inputs = ["x", "", "", "sizes"] if scale is None else ["x", "", "scales"]
    one = onnx.helper.make_node("Resize", inputs, ["y"], **kept)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [one],
        "resize",
        [
            info("x", onnx.TensorProto.FLOAT, [extent, extent]),
            info("sizes", onnx.TensorProto.INT64, [2])
            if scale is None
            else info("scales", onnx.TensorProto.FLOAT, [2]),
        ],
        [onnx.ValueInfoProto(name="y")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", max(context.opset, 18))])
    feeds = {"x": np.eye(extent, dtype=np.float32)}
    if scale is None:
        feeds["sizes"] = np.array([size, extent])
    else:
        feeds["scales"] = np.array([scale, 1.0], np.float32)
    try:
        (weights,) = map(np.asarray, ReferenceEvaluator(model).run(None, feeds))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise Reject(f"its weights cannot be computed ({error})") from None
    if weights.shape != (size, extent):
        raise Reject(f"the extent {extent} is resized to {size}, but weights are {weights.shape}")
    return weights


@register_converter("ReverseSequence")
def _reverse_sequence(context: Context, node: NodeView, operands: Operands) -> Value:
    x, lengths = need(operands, 0, "the input"), integers_of(operands, 1, "the lengths")
    time, batch = node.integer("time_axis"), node.integer("batch_axis", 1)
    if lengths is None or sorted((time, batch)) != [0, 1] or len(lengths) != x.shape[batch]:
        raise Reject(f"lengths {lengths}, time axis {time}, batch axis {batch} do not fit {x.shape}")
    index = np.tile(np.arange(x.shape[time])[:, None], len(lengths))
    for column, length in enumerate(lengths):
        index[:length, column] = index[:length, column][::-1]
    index = index if time == 0 else index.T
    grid = np.indices(index.shape)
    grid[time] = index
    where = context.constant(np.stack(list(grid), axis=-1), f"{node.name}.index")
    return context.finish(node, "gather_nd", [x, where], {})


def constant_or_zeros(context: Context, value: Value | None, shape: Sequence[int], name: str) -> Value:
    """An optional operand, zeros where it is left out."""
    return context.constant(np.zeros(shape, np.float32), name) if value is None else value


def optional_part(context: Context, node: NodeView, operands: Operands, index: int, part: int) -> Value | None:
    """Entry `part` along the first axis of an optional operand, without that axis."""
    value = optional(operands, index)
    if value is None:
        return None
    if value.const is not None:
        return context.constant(np.ascontiguousarray(value.const[part]), f"{value.name}.{part}")
    attrs = slice_attrs(value.shape, {0: range(part, part + 1)})
    return context.emit(node, "reshape", [context.emit(node, "slice", [value], attrs)], {"shape": value.shape[1:]})
