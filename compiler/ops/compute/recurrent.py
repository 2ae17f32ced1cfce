"""Recurrent layers as tensor expressions: a scan over time whose update is a product and a few gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.ir import Expr, call, select
from compiler.ops.compute.elementwise import clamp
from compiler.ops.compute.registry import register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.scan import scan
from compiler.te.tensor import Tensor, compute, placeholder, reduce_axis
from compiler.te.tensor import sum as te_sum

_Function = Callable[[Expr], Expr]

_ACTIVATIONS: dict[str, Callable[[Expr, float, float], Expr]] = {
    "Sigmoid": lambda x, alpha, beta: call("sigmoid", x),
    "Tanh": lambda x, alpha, beta: call("tanh", x),
    "Relu": lambda x, alpha, beta: select(x < 0.0, 0.0, x),
    "Affine": lambda x, alpha, beta: x * alpha + beta,
    "LeakyRelu": lambda x, alpha, beta: select(x < 0.0, x * alpha, x),
    "ThresholdedRelu": lambda x, alpha, beta: select(x > alpha, x, 0.0),
    "ScaledTanh": lambda x, alpha, beta: call("tanh", x * beta) * alpha,
    "HardSigmoid": lambda x, alpha, beta: clamp(x * alpha + beta, 0.0, 1.0),
    "Elu": lambda x, alpha, beta: select(x < 0.0, (call("exp", x) - 1.0) * alpha, x),
    "Softsign": lambda x, alpha, beta: x / (call("abs", x) + 1.0),
    "Softplus": lambda x, alpha, beta: call("log", call("exp", x) + 1.0),
}


def _functions(attrs: Attrs) -> list[_Function]:
    def bound(kind: str, alpha: float, beta: float) -> _Function:
        return lambda x: _ACTIVATIONS[kind](x, alpha, beta)

    return [bound(*entry) for entry in attrs["activations"]]


def _clipper(attrs: Attrs) -> _Function:
    limit = attrs["clip"]
    return (lambda x: x) if limit is None else (lambda x: clamp(x, -float(limit), float(limit)))


class Layer:
    """The parts that the layers share. State t is that after t steps; state 0 is the initial one.

    A target may have one of its own, which multiplies with the recurrent weight otherwise.
    """

    def __init__(self, inputs: Sequence[Tensor], attrs: Attrs, names: str) -> None:
        self.x, self.r = inputs[:2]
        steps, batch, _ = self.x.shape
        self.steps, self.width = steps, self.r.shape[1]
        self.shape = (steps + 1, batch, self.width)
        self.reverse = attrs["reverse"]
        self.states = [placeholder(self.shape, "float32", f"{name}_state") for name in names]
        self.initial = [self._first(tensor, name) for tensor, name in zip(inputs[2:], names, strict=False)]

    def _first(self, tensor: Tensor, name: str) -> Tensor:
        return compute((1, *self.shape[1:]), lambda t, n, j: tensor[n, j], f"{name}_first")

    def input(self, t: Expr, n: Expr, j: Expr) -> Expr:
        """The projected input that makes state t."""
        return self.x[self.steps - t if self.reverse else t - 1, n, j]

    def product(self, source: Callable[[Expr, Expr, Expr], Expr], first: int, count: int, name: str) -> Tensor:
        """Rows first ... first + count - 1 of the recurrent weight times `source(t, n, k)`."""
        k = reduce_axis(self.width, "k")
        shape = (*self.shape[:2], count)
        return compute(shape, lambda t, n, j: te_sum(source(t, n, k) * self.r[j + first, k], axis=k), name)

    def run(self, updates: list[Tensor]) -> list[Tensor]:
        outputs = scan(self.initial, updates, self.states, [self.x, self.r], name="steps")
        assert isinstance(outputs, list)
        return outputs

    def at(self, t: Expr) -> Expr:
        """The state after the step that reads input t."""
        return self.steps - t if self.reverse else t + 1


@register_compute("lstm")
def lstm(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType, kind: type[Layer] = Layer) -> Tensor:
    """Hidden and cell state after every step."""
    layer = kind(inputs, attrs, "hc")
    h, c = layer.states
    f, g, last = _functions(attrs)
    clip, width = _clipper(attrs), layer.width
    peepholes = inputs[4] if len(inputs) == 5 else None
    product = layer.product(lambda t, n, k: h[t - 1, n, k], 0, 4 * width, "product")

    def gate(number: int, t: Expr, n: Expr, j: Expr, peep: tuple[int, Expr] | None = None) -> Expr:
        row = j + number * width
        value = layer.input(t, n, row) + product[t, n, row]
        if peepholes is not None and peep is not None:
            value = value + peepholes[j + peep[0] * width] * peep[1]
        return clip(value)

    def cell(t: Expr, n: Expr, j: Expr) -> Expr:
        before = c[t - 1, n, j]
        i = f(gate(0, t, n, j, (0, before)))
        forget = 1.0 - i if attrs["input_forget"] else f(gate(2, t, n, j, (2, before)))
        return forget * before + i * g(gate(3, t, n, j))

    new_c = compute(layer.shape, cell, "new_c")

    def hidden(t: Expr, n: Expr, j: Expr) -> Expr:
        now = new_c[t, n, j]
        return f(gate(1, t, n, j, (1, now))) * last(now)

    hidden_states, cell_states = layer.run([compute(layer.shape, hidden, "new_h"), new_c])

    def element(t: Expr, which: Expr, n: Expr, j: Expr) -> Expr:
        return select(which < 1, hidden_states[layer.at(t), n, j], cell_states[layer.at(t), n, j])

    return compute(output.shape, element, "lstm")


@register_compute("gru")
def gru(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType, kind: type[Layer] = Layer) -> Tensor:
    """The state after every step."""
    layer = kind(inputs, attrs, "h")
    bias, (h,) = inputs[3], layer.states
    f, g = _functions(attrs)
    clip, width = _clipper(attrs), layer.width
    product = layer.product(lambda t, n, k: h[t - 1, n, k], 0, 2 * width, "product")

    def gate(t: Expr, n: Expr, j: Expr) -> Expr:
        return f(clip(layer.input(t, n, j) + product[t, n, j]))

    gates = compute((*layer.shape[:2], 2 * width), gate, "gates")
    if attrs["linear_before_reset"]:
        inner = layer.product(lambda t, n, k: h[t - 1, n, k], 2 * width, width, "hidden_product")
    else:
        kept = compute(layer.shape, lambda t, n, j: gates[t, n, j + width] * h[t - 1, n, j], "kept")
        inner = layer.product(lambda t, n, k: kept[t, n, k], 2 * width, width, "hidden_product")

    def hidden(t: Expr, n: Expr, j: Expr) -> Expr:
        value = inner[t, n, j] + bias[j]
        if attrs["linear_before_reset"]:
            value = gates[t, n, j + width] * value
        z = gates[t, n, j]
        return (1.0 - z) * g(clip(layer.input(t, n, j + 2 * width) + value)) + z * h[t - 1, n, j]

    (states,) = layer.run([compute(layer.shape, hidden, "new_h")])
    return compute(output.shape, lambda t, n, j: states[layer.at(t), n, j], "gru")


@register_compute("rnn")
def rnn(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType, kind: type[Layer] = Layer) -> Tensor:
    """The state after every step."""
    layer = kind(inputs, attrs, "h")
    (h,), (f,), clip = layer.states, _functions(attrs), _clipper(attrs)
    product = layer.product(lambda t, n, k: h[t - 1, n, k], 0, layer.width, "product")
    new_h = compute(layer.shape, lambda t, n, j: f(clip(layer.input(t, n, j) + product[t, n, j])), "new_h")
    (states,) = layer.run([new_h])
    return compute(output.shape, lambda t, n, j: states[layer.at(t), n, j], "rnn")


#: the layers by operator, for a target with a `Layer` of its own
LAYERS = {"lstm": lstm, "gru": gru, "rnn": rnn}
