"""Converters of ONNX operators that reduce, accumulate or order along axes."""

from __future__ import annotations

import string

import numpy as np

from compiler.frontend.onnx_node import Context, NodeView, Reject, axis_of, integers_of, need, scalar_of
from compiler.frontend.onnx_registry import register_converter
from compiler.graph.ir import Value

Operands = list[Value | None]
_DIRECT = {"ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum", "ReduceMax": "reduce_max", "ReduceMin": "reduce_min",
           "ReduceProd": "reduce_prod"}  # fmt: skip


@register_converter(
    *_DIRECT, "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"
)  # fmt: skip
def _reduce(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    given = integers_of(operands, 1, "axes")
    listed = node.integers("axes", ()) if given is None else given
    rank = len(x.shape)
    if not listed and node.integer("noop_with_empty_axes"):
        axes: tuple[int, ...] = ()
    else:
        axes = tuple(sorted(axis_of(axis, rank) for axis in (listed or range(rank))))
    attrs = {"axes": axes, "keepdims": bool(node.integer("keepdims", 1))}
    if node.op == "ReduceMean" and rank == 4 and axes == (2, 3) and x.dtype == "float32":
        window = {"kernel": x.shape[2:], "strides": (1, 1)}
        if attrs["keepdims"]:
            return context.finish(node, "avg_pool2d", [x], window)
        pooled = context.emit(node, "avg_pool2d", [x], window)
        return context.finish(node, "reshape", [pooled], {"shape": x.shape[:2]})
    if node.op in _DIRECT:
        if x.dtype == "bool":
            wide = context.emit(node, "cast", [x], {"dtype": "uint8"})
            return context.finish(
                node, "cast", [context.emit(node, _DIRECT[node.op], [wide], attrs)], {"dtype": "bool"}
            )
        return context.finish(node, _DIRECT[node.op], [x], attrs)
    return _composed(context, node, x, attrs)


def _composed(context: Context, node: NodeView, x: Value, attrs: dict[str, object]) -> Value:
    def emit(op: str, *values: Value) -> Value:
        return context.emit(node, op, values)

    if node.op == "ReduceL1":
        return context.finish(node, "reduce_sum", [emit("abs", x)], attrs)
    if node.op == "ReduceSumSquare":
        return context.finish(node, "reduce_sum", [emit("mul", x, x)], attrs)
    if node.op == "ReduceL2":
        return context.finish(node, "sqrt", [context.emit(node, "reduce_sum", [emit("mul", x, x)], attrs)])
    if node.op == "ReduceLogSum":
        return context.finish(node, "log", [context.emit(node, "reduce_sum", [x], attrs)])
    # Shifted by the maximum, so that no exponential overflows; not where that is infinite.
    top = context.emit(node, "reduce_max", [x], {**attrs, "keepdims": True})
    infinite = emit("equal", emit("abs", top), context.number(node, np.inf, top))
    top = emit("where", infinite, context.number(node, 0, top), top)
    total = context.emit(node, "reduce_sum", [emit("exp", emit("sub", x, top))], attrs)
    logarithm = emit("log", total)
    if not attrs["keepdims"]:
        top = context.emit(node, "reshape", [top], {"shape": logarithm.shape})
    return context.finish(node, "add", [logarithm, top])


@register_converter("LogSoftmax")
def _log_softmax(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    rank = len(x.shape)
    axis = axis_of(node.integer("axis", -1 if context.opset >= 13 else 1), rank)
    # Before opset 13 the axes from `axis` on are one.
    over = {"axes": (axis,) if context.opset >= 13 else tuple(range(axis, rank)), "keepdims": True}
    shifted = context.emit(node, "sub", [x, context.emit(node, "reduce_max", [x], over)])
    total = context.emit(node, "reduce_sum", [context.emit(node, "exp", [shifted])], over)
    return context.finish(node, "sub", [shifted, context.emit(node, "log", [total])])


@register_converter("ArgMax", "ArgMin")
def _arg(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    attrs = {
        "axis": axis_of(node.integer("axis"), len(x.shape)),
        "keepdims": bool(node.integer("keepdims", 1)),
        "largest": node.op == "ArgMax",
        "last": bool(node.integer("select_last_index")),
    }
    return context.finish(node, "arg_reduce", [x], attrs)


@register_converter("Hardmax")
def _hardmax(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    axis = axis_of(node.integer("axis", -1 if context.opset >= 13 else 1), len(x.shape))
    if context.opset < 13 and axis != len(x.shape) - 1:
        raise Reject("before opset 13 it flattens axes, which is not implemented")
    first = context.emit(node, "arg_reduce", [x], {"axis": axis})
    positions = np.arange(x.shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(x.shape))])
    hit = context.emit(node, "equal", [first, context.constant(positions, f"{node.name}.positions")])
    return context.finish(node, "cast", [hit], {"dtype": x.dtype})


@register_converter("TopK")
def _top_k(context: Context, node: NodeView, operands: Operands) -> tuple[Value, ...]:
    x = need(operands, 0, "the input")
    count = scalar_of(operands, 1, "k")
    attrs = {
        "axis": axis_of(node.integer("axis", -1), len(x.shape)),
        "count": int(node.integer("k") if count is None else count),
        "largest": bool(node.integer("largest", 1)),
    }
    index = context.finish(node, "order", [x], attrs, output=1)
    return context.finish(node, "gather_elements", [x, index], {"axis": attrs["axis"]}), index


@register_converter("CumSum", "CumProd")
def _cumulative(context: Context, node: NodeView, operands: Operands) -> Value:
    x, axis = need(operands, 0, "the input"), scalar_of(operands, 1, "the axis")
    if axis is None:
        raise Reject("the axis is missing")
    attrs = {
        "axis": axis_of(int(axis), len(x.shape)),
        "exclusive": bool(node.integer("exclusive")),
        "reverse": bool(node.integer("reverse")),
        "product": node.op == "CumProd",
    }
    return context.finish(node, "cumulative", [x], attrs)


@register_converter("LpNormalization")
def _lp(context: Context, node: NodeView, operands: Operands) -> Value:
    x, order = need(operands, 0, "the input"), node.integer("p", 2)
    if order not in (1, 2):
        raise Reject(f"p={order} is neither 1 nor 2")
    over = {"axes": (axis_of(node.integer("axis", -1), len(x.shape)),), "keepdims": True}
    magnitude = context.emit(node, "abs", [x]) if order == 1 else context.emit(node, "mul", [x, x])
    norm = context.emit(node, "reduce_sum", [magnitude], over)
    norm = norm if order == 1 else context.emit(node, "sqrt", [norm])
    zero = context.number(node, 0, x)
    quotient = context.emit(node, "div", [x, norm])
    return context.finish(node, "where", [context.emit(node, "equal", [norm, zero]), zero, quotient])


@register_converter("Einsum")
def _einsum(context: Context, node: NodeView, operands: Operands) -> Value:
    values = [need(operands, i, "an operand") for i in range(len(operands))]
    equation = node.text("equation", "").replace(" ", "")
    terms, arrow, result = equation.partition("->")
    inputs = terms.split(",")
    if len(inputs) != len(values):
        raise Reject(f"equation '{equation}' does not fit {len(values)} operands")
    free = [c for c in string.ascii_letters if c not in equation]
    dots = [len(v.shape) - len(term.replace("...", "")) for v, term in zip(values, inputs, strict=True)]
    widest = max((n for n, term in zip(dots, inputs, strict=True) if "..." in term), default=0)
    if min(dots) < 0 or widest > len(free):
        raise Reject(f"equation '{equation}' does not fit its operands")
    leading = free[:widest]
    inputs = [t.replace("...", "".join(leading[widest - n :])) for t, n in zip(inputs, dots, strict=True)]
    if not arrow:
        letters = sorted(set("".join(inputs)) - set(leading))
        result = "..." + "".join(c for c in letters if "".join(inputs).count(c) == 1)
    result = result.replace("...", "".join(leading))
    return context.finish(node, "einsum", values, {"equation": f"{','.join(inputs)}->{result}"})
