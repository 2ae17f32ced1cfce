"""Tensorize: what matches a declaration, what does not, and what the user is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compiler import ir, te
from compiler.ir.interp import run
from compiler.lower import lower

Body = Callable[[ir.Expr, ir.Expr], ir.Expr]


def product(x: ir.Expr, w: ir.Expr) -> ir.Expr:
    return x.astype("int32") * w.astype("int32")


def gemv(body: Body = product, n: int = 4, init: str = "fused", reducer: te.Reducer = te.sum) -> te.TensorIntrin:
    x, w = te.placeholder((n,), "int8", "x"), te.placeholder((n, n), "int8", "w")
    k = te.reduce_axis(n, "k")
    y = te.compute((n,), lambda o: reducer(body(x[k], w[o, k]), axis=k), "y")

    def rule(ctx: te.TensorizeContext) -> ir.Expr:
        return ir.Call("dev.gemv", [ctx.output.address, *(r.address for r in ctx.inputs), ctx.first])

    return te.decl_tensor_intrin(y, "gemv", rule, init=init)


def run_gemv(out, x, w, first) -> int:
    flat, at = out
    vector = x[0][x[1] : x[1] + 4].astype(np.int32)
    matrix = w[0][w[1] : w[1] + 16].reshape(4, 4).astype(np.int32)
    flat[at : at + 4] = matrix @ vector + (0 if first else flat[at : at + 4])
    return 0


def program(body: Body = product, dtype: str = "int8", transposed: bool = False, reducer: te.Reducer = te.sum):
    a = te.placeholder((3, 8), dtype, "A")
    b = te.placeholder((8, 8), dtype, "B")
    k = te.reduce_axis(8, "k")

    def element(i: ir.Expr, j: ir.Expr) -> ir.Expr:
        return reducer(body(a[i, k], b[k, j] if transposed else b[j, k]), axis=k)

    return a, b, te.compute((3, 8), element, "C")


def schedule(tensors, intrin: te.TensorIntrin, pack: bool = True) -> te.Schedule:
    """Operands packed in 4x4 blocks by caches, the inner 4x4 tensorized."""
    a, b, c = tensors
    s = te.create_schedule(c)
    if pack:
        bl = s.cache_read(b, "wgt", [c])
    i, j = s[c].op.axis
    (k,) = s[c].op.reduce_axis
    jo, ji = s[c].split(j, factor=4)
    ko, ki = s[c].split(k, factor=4)
    s[c].reorder(jo, ko, i, ji, ki)
    if pack:
        s[bl].compute_at(s[c], ko)
    s[c].tensorize(ji, intrin)
    return s


def error_of(s: te.Schedule) -> te.TensorizeError:
    with pytest.raises(te.TensorizeError) as caught:
        s.nest()
    return caught.value


def test_matches_and_computes() -> None:
    tensors = program()
    s = schedule(tensors, gemv())
    assert s.nest().splitlines()[-2:] == [
        "        for i in range(3):",
        "            dev.gemv(address_of(C[i, j_outer * 4]), address_of(A[i, k_outer * 4]), "
        "address_of(B_wgt[0, 0]), k_outer == 0)",
    ]
    rng = np.random.default_rng(3)
    a = rng.integers(-128, 128, (3, 8), dtype=np.int8)
    b = rng.integers(-128, 128, (8, 8), dtype=np.int8)
    out = np.zeros((3, 8), np.int32)
    run(lower(s, list(tensors)), [x.reshape(-1) for x in (a, b, out)], {"dev.gemv": run_gemv})
    np.testing.assert_array_equal(out, a.astype(np.int32) @ b.astype(np.int32).T)


def test_separate_initialisation_makes_a_nest_for_it() -> None:
    text = schedule(program(), gemv(init="separate")).nest()
    assert "C[i_init, j_outer * 4 + j_inner_init] = 0" in text


def test_separate_initialisation_needs_a_reduce_loop_outside() -> None:
    x = te.placeholder((4, 4), "int32", "x")
    k = te.reduce_axis(4, "k")
    row = te.decl_tensor_intrin(
        te.compute((4,), lambda i: te.sum(x[i, k], axis=k), "y"),
        "rowsum",
        lambda ctx: ir.Call("dev.rowsum", [ctx.output.address]),
        init="separate",
    )
    a = te.placeholder((4, 4), "int32", "A")
    r = te.reduce_axis(4, "r")
    c = te.compute((4,), lambda i: te.sum(a[i, r], axis=r), "C")
    s = te.create_schedule(c)
    s[c].tensorize(c.op.axis[0], row)
    with pytest.raises(te.ScheduleError, match="no place for the initialisation"):
        s.nest()


NOISE: list[Body] = [
    lambda x, w: w.astype("int32") * x.astype("int32"),
    lambda x, w: x.astype("int32") * w.astype("int32") + 0,
    lambda x, w: x.astype("int16").astype("int32") * w.astype("int32"),
    lambda x, w: (x.astype("int32") + ir.const(0, "int32") * 3) * w.astype("int32") * 1,
]


@pytest.mark.parametrize("body", NOISE)
def test_noise_does_not_matter(body: Body) -> None:
    assert "dev.gemv" in schedule(program(body), gemv()).nest()


DIFFERENT: list[tuple[Body, str, str, str]] = [
    (lambda x, w: x.astype("int32") + w.astype("int32"), "operations differ", "*", "+"),
    (lambda x, w: x.astype("int32") * w.astype("int32") + 1, "operations differ", "*", "+ 1"),
    (lambda x, w: (x * w).astype("int32"), "expressions differ", "int32(x[k]) * int32(w[o, k])", "int32("),
    (lambda x, w: x.astype("int32") * 2, "expressions differ", "int32(w[o, k])", "2"),
    (lambda x, w: ir.rshift_rne(x.astype("int32"), 2) * w.astype("int32"), "expressions differ", "", "rshift_rne"),
]


@pytest.mark.parametrize("case", DIFFERENT, ids=lambda c: c[3])
def test_a_mismatch_names_the_subterm(case: tuple[Body, str, str, str]) -> None:
    body, message, expected, found = case
    tensors = program(body)
    error = error_of(schedule(tensors, gemv(), pack=tensors[1] in tensors[2].op.inputs))
    assert message in str(error) and "s[C].tensorize: 'gemv'" in str(error)
    assert expected in error.expected and found in error.found
    assert "test_tensorize.py:" in str(error)


def test_other_reduction() -> None:
    error = error_of(schedule(program(reducer=te.max), gemv()))
    assert (error.expected, error.found) == ("te.sum", "te.max")


def test_other_type() -> None:
    error = error_of(schedule(program(dtype="int16"), gemv()))
    assert "types differ" in str(error) and "int8" in error.expected and "int16" in error.found


def test_other_extents() -> None:
    error = error_of(schedule(program(), gemv(n=8)))
    assert (error.expected, error.found) == ("[8]", "[4]") and "data loops" in str(error)


def test_operand_not_dense() -> None:
    """Without the packing cache the rows of B are 8 apart."""
    error = error_of(schedule(program(), gemv(), pack=False))
    assert "is not dense" in str(error) and (error.expected, error.found) == ("stride 4", "stride 8")


def test_transposed_operand() -> None:
    error = error_of(schedule(program(transposed=True), gemv()))
    assert "operand 'w'" in str(error)


def test_guarded_loops_cannot_be_tensorized() -> None:
    a, b = te.placeholder((3, 8), "int8", "A"), te.placeholder((6, 8), "int8", "B")
    k = te.reduce_axis(8, "k")
    c = te.compute((3, 6), lambda i, j: te.sum(product(a[i, k], b[j, k]), axis=k), "C")
    error = error_of(schedule((a, b, c), gemv()))
    assert "need the guard" in str(error)


def test_strided_loop_cannot_be_tensorized() -> None:
    a, b, c = program()
    s = te.create_schedule(c)
    jo, ji = s[c].split(c.op.axis[1], nparts=4)
    s[c].reorder(ji, jo)
    s[c].tensorize(jo, gemv())
    assert "do not cover axis 'j' densely" in str(error_of(s))


def test_stage_attached_inside() -> None:
    a, b, c = program()
    s = te.create_schedule(c)
    al = s.cache_read(a, "inp", [c])
    s[al].compute_at(s[c], s[c].op.reduce_axis[0])
    s[c].tensorize(c.op.axis[1], gemv(n=8))
    with pytest.raises(te.ScheduleError, match="'A_inp' is computed at loop 'k' inside it"):
        s.nest()


def test_reduction_wholly_outside() -> None:
    """An accumulating vector instruction: declared with a reduce axis of extent 1."""
    x = te.placeholder((1, 4), "int32", "x")
    k = te.reduce_axis(1, "k")
    y = te.compute((4,), lambda o: te.max(x[k, o], axis=k), "y")
    vmax = te.decl_tensor_intrin(
        y, "vmax", lambda ctx: ir.Call("dev.vmax", [ctx.output.address, ctx.inputs[0].address, ctx.first])
    )
    a = te.placeholder((6, 8), "int32", "A")
    r = te.reduce_axis(3, "r")
    m = te.compute((2, 8), lambda i, o: te.max(a[i * 2 + r, o], axis=r), "M")
    s = te.create_schedule(m)
    oo, oi = s[m].split(m.op.axis[1], factor=4)
    s[m].reorder(oo, s[m].op.reduce_axis[0], oi)
    s[m].tensorize(oi, vmax)
    assert s.nest().splitlines()[-1].strip() == (
        "dev.vmax(address_of(M[i, o_outer * 4]), address_of(A[i * 2 + r, o_outer * 4]), r == 0)"
    )


def test_element_wise_with_parameters() -> None:
    """Two loads of one operand, shifts and constants; the parameters are a pair a channel."""
    a, p = te.placeholder((4,), "int32", "a"), te.placeholder((4, 2), "int32", "p")

    def value(acc: ir.Expr, bias: ir.Expr, shift: ir.Expr) -> ir.Expr:
        return ir.minimum(ir.maximum(ir.rshift_rne(acc + bias, shift & 31), -128), 127).astype("int8")

    intrin = te.decl_tensor_intrin(
        te.compute((4,), lambda o: value(a[o], p[o, 0], p[o, 1]), "y"),
        "requant",
        lambda ctx: ir.Call("dev.requant", [ctx.output.address, *(r.address for r in ctx.inputs)]),
    )
    acc, params = te.placeholder((3, 2, 4), "int32", "acc"), te.placeholder((2, 4, 2), "int32", "params")
    out = te.compute((3, 2, 4), lambda i, b, o: value(acc[i, b, o], params[b, o, 0], params[b, o, 1]), "out")
    s = te.create_schedule(out)
    s[out].tensorize(out.op.axis[2], intrin)
    assert s.nest().splitlines()[-1].strip() == (
        "dev.requant(address_of(out[i, b, 0]), address_of(acc[i, b, 0]), address_of(params[b, 0, 0]))"
    )
    swapped = te.compute((3, 2, 4), lambda i, b, o: value(acc[i, b, o], params[b, o, 1], params[b, o, 0]), "out")
    s = te.create_schedule(swapped)
    s[swapped].tensorize(swapped.op.axis[2], intrin)
    assert "operand 'p'" in str(error_of(s))


def test_the_rule_must_write_the_output_first() -> None:
    x = te.placeholder((4,), "int32", "x")
    wrong = te.decl_tensor_intrin(
        te.compute((4,), lambda i: x[i] + 1, "y"),
        "wrong",
        lambda ctx: ir.Call("dev.add", [ctx.inputs[0].address, ctx.output.address]),
    )
    a = te.placeholder((4,), "int32", "A")
    b = te.compute((4,), lambda i: a[i] + 1, "B")
    s = te.create_schedule(b)
    s[b].tensorize(b.op.axis[0], wrong)
    assert "address other than the output's first" in str(error_of(s))


def test_regions_tell_strides() -> None:
    seen: list[te.Region] = []

    def rule(ctx: te.TensorizeContext) -> ir.Expr:
        seen.extend([ctx.output, *ctx.inputs])
        return ir.Call("dev.copy", [ctx.output.address, ctx.inputs[0].address])

    x = te.placeholder((2, 1, 4), "int32", "x")
    intrin = te.decl_tensor_intrin(te.compute((2, 1, 4), lambda a, b, c: x[a, b, c] + 1, "y"), "copy", rule)
    a = te.placeholder((3, 2, 4), "int32", "A")
    b = te.compute((3, 2, 4), lambda i, j, k: a[i, j, k] + 1, "B")
    s = te.create_schedule(b)
    s[b].tensorize(b.op.axis[1], intrin)
    s.nest()
    assert [r.strides for r in seen] == [(4, 0, 1), (4, 0, 1)]
    assert [r.shape for r in seen] == [(2, 1, 4), (2, 1, 4)]


# Mistakes that a type checker would tell too.
AS_IT_IS: Any = lambda context: context  # noqa: E731
NUMBER: Any = 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: te.decl_tensor_intrin(x, "i", lambda ctx: x[0]), "must be a te.compute"),
        (lambda x: te.decl_tensor_intrin(te.compute((4,), lambda i: x[i]), "i", AS_IT_IS, "x"), "init must be"),
        (
            lambda x: te.decl_tensor_intrin(te.compute((4,), lambda i: x[i]), "i", NUMBER),
            "lower must be a function",
        ),
        (
            lambda x: te.decl_tensor_intrin(
                te.compute((4,), lambda i: te.compute((4,), lambda j: x[j], "m")[i]), "i", lambda ctx: x[0]
            ),
            "operand 'm' is computed",
        ),
        (
            lambda x: te.decl_tensor_intrin(te.compute((4,), lambda i: x[i]), "i", lambda ctx: x[0], inputs=[]),
            r"inputs are \[\]",
        ),
    ],
)
def test_bad_declarations(make: Callable[[te.Tensor], object], message: str) -> None:
    with pytest.raises(te.TensorExprError, match=message):
        make(te.placeholder((4,), "int32", "x"))
