"""A packed, padded int8 convolution scheduled as for a tensor accelerator; shared by several tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler import ir, te
from compiler.ir.interp import run

B, C, O = 1, 16, 16  # noqa: E741


def gemm_intrin(name: str = "dev.gemm") -> te.TensorIntrin:
    x = te.placeholder((B, C), "int8", "x")
    w = te.placeholder((O, C), "int8", "w")
    k = te.reduce_axis(C, "k")
    y = te.compute((B, O), lambda b, o: te.sum(x[b, k].astype("int32") * w[o, k].astype("int32"), axis=k), "y")

    def rule(ctx: te.TensorizeContext) -> ir.Expr:
        return ir.Call(name, [ctx.output.address, ctx.inputs[0].address, ctx.inputs[1].address, ctx.first])

    return te.decl_tensor_intrin(y, "gemm", rule)


def requant_value(acc: ir.Expr, bias: ir.Expr, word: ir.Expr, zero_point: int = 3) -> ir.Expr:
    mult = ((word << 14) >> 14).astype("int64")
    shift = ((word >> 18) & 63).astype("int64")
    q = ir.rshift_rne((acc + bias).astype("int64") * mult, shift) + zero_point
    return ir.minimum(ir.maximum(q, -128), 127).astype("int8")


def requant_intrin(name: str = "dev.requant") -> te.TensorIntrin:
    a = te.placeholder((B, O), "int32", "a")
    p = te.placeholder((O, 2), "int32", "p")
    y = te.compute((B, O), lambda b, o: requant_value(a[b, o], p[o, 0], p[o, 1]), "y")

    def rule(ctx: te.TensorizeContext) -> ir.Expr:
        return ir.Call(name, [ctx.output.address, *(r.address for r in ctx.inputs)])

    return te.decl_tensor_intrin(y, "requant", rule)


@dataclass
class ConvCase:
    """The tensors and the schedule."""

    data: te.Tensor
    kernel: te.Tensor
    params: te.Tensor
    out: te.Tensor
    schedule: te.Schedule

    @property
    def args(self) -> list[te.Tensor]:
        return [self.data, self.kernel, self.params, self.out]


def conv(n=1, cb=2, h=8, w=8, ob=2, k=3, pad=1, stride=1, zero_point=5) -> tuple[te.Tensor, ...]:
    data = te.placeholder((n, cb, h, w, B, C), "int8", "data")
    kernel = te.placeholder((ob, cb, k, k, O, C), "int8", "kernel")
    params = te.placeholder((ob, O, 2), "int32", "params")
    oh, ow = (h + 2 * pad - k) // stride + 1, (w + 2 * pad - k) // stride + 1
    padded = te.compute(
        (n, cb, h + 2 * pad, w + 2 * pad, B, C),
        lambda n, cb, y, x, b, c: ir.select(
            ir.logical_and(y >= pad, y < h + pad, x >= pad, x < w + pad),
            data[n, cb, y - pad, x - pad, b, c],
            ir.const(zero_point, "int8"),
        ),
        "padded",
    )
    rc, ry, rx, ci = te.reduce_axis(cb, "rc"), te.reduce_axis(k, "ry"), te.reduce_axis(k, "rx"), te.reduce_axis(C, "ci")
    acc = te.compute(
        (n, ob, oh, ow, B, O),
        lambda n, ob, y, x, b, o: te.sum(
            padded[n, rc, y * stride + ry, x * stride + rx, b, ci].astype("int32")
            * kernel[ob, rc, ry, rx, o, ci].astype("int32"),
            axis=[rc, ry, rx, ci],
        ),
        "acc",
    )
    quant = te.compute(
        acc.shape,
        lambda n, ob, y, x, b, o: requant_value(acc[n, ob, y, x, b, o], params[ob, o, 0], params[ob, o, 1]),
        "quant",
    )
    out = te.compute(acc.shape, lambda *i: quant[i], "out")
    return data, kernel, params, padded, acc, quant, out


def accelerator_conv(tile_y=4, threads="ob", tensorize=True, wgt_at_ky=True, **shape: int) -> ConvCase:
    """The convolution tiled over output blocks and rows, two virtual threads, caches in the accelerator's scopes."""
    data, kernel, params, padded, acc, quant, out = conv(**shape)
    s = te.create_schedule(out)
    weights = s.cache_read(kernel, "wgt", [acc])
    aux = s.cache_read(params, "aux", [quant])
    s[padded].set_scope("inp")
    s[acc].set_scope("acc")
    s[quant].set_scope("out")

    n, ob, y, x, b, o = s[out].op.axis
    yo, yi = s[out].split(y, factor=tile_y)
    obo, obi = s[out].split(ob, factor=1)
    if threads == "ob":
        tile, thread = s[out].split(obo, nparts=max(1, out.shape[1] // 2))
        s[out].reorder(n, tile, yo, thread, obi, yi, x, b, o)
    else:
        tile, thread = s[out].split(yo, nparts=max(1, (out.shape[2] // tile_y) // 2))
        s[out].reorder(n, obo, tile, thread, obi, yi, x, b, o)
    s[out].bind(thread, te.thread_axis("vthread"))
    s[out].pragma(obi, "dma_copy")
    s[quant].compute_at(s[out], thread)
    s[acc].compute_at(s[out], thread)
    s[aux].compute_at(s[out], thread)
    s[aux].pragma(s[aux].op.axis[0], "dma_copy")

    an, aob, ay, ax, ab, ao = s[acc].op.axis
    rc, ry, rx, ci = s[acc].op.reduce_axis
    s[acc].reorder(rc, ry, an, aob, rx, ay, ax, ab, ao, ci)
    s[padded].compute_at(s[acc], rc)
    s[padded].pragma(s[padded].op.axis[0], "dma_copy")
    s[weights].compute_at(s[acc], ry if wgt_at_ky else rc)
    s[weights].pragma(s[weights].op.axis[0], "dma_copy")
    if tensorize:
        s[acc].tensorize(ab, gemm_intrin())
        s[quant].tensorize(s[quant].op.axis[4], requant_intrin())
    return ConvCase(data, kernel, params, out, s)


def _view(ref: tuple[np.ndarray, int], shape: tuple[int, ...]) -> np.ndarray:
    flat, offset = ref
    size = int(np.prod(shape))
    assert 0 <= offset and offset + size <= flat.size, "intrinsic operand outside its buffer"
    return flat[offset : offset + size].reshape(shape)


def run_gemm(out, x, w, first) -> int:
    acc = _view(out, (B, O))
    product = _view(x, (B, C)).astype(np.int32) @ _view(w, (O, C)).astype(np.int32).T
    acc[...] = product if first else acc + product
    return 0


def requant_reference(acc: np.ndarray, bias: np.ndarray, word: np.ndarray, zero_point: int = 3) -> np.ndarray:
    """Elementwise, bias and word broadcast."""
    v = (acc.astype(np.int64) + bias).astype(np.int32).astype(np.int64)
    mult = (word.astype(np.int64) << 46) >> 46
    shift = (word.astype(np.int64) >> 18) & 63
    product = v * mult
    floor = product >> shift
    rest = product - (floor << shift)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    up = (rest > half) | ((rest == half) & (shift > 0) & (floor & 1 == 1))
    return np.clip(floor + up + zero_point, -128, 127).astype(np.int8)


def run_requant(out, acc, params) -> int:
    p = _view(params, (O, 2))
    _view(out, (B, O))[...] = requant_reference(_view(acc, (B, O)), p[:, 0], p[:, 1])
    return 0


INTRINSICS = {"dev.gemm": run_gemm, "dev.requant": run_requant}


def inputs(case: ConvCase, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    data = rng.integers(-128, 128, case.data.shape, dtype=np.int8)
    kernel = rng.integers(-128, 128, case.kernel.shape, dtype=np.int8)
    params = np.zeros(case.params.shape, np.int32)
    params[..., 0] = rng.integers(-1000, 1000, params.shape[:-1])
    params[..., 1] = rng.integers(1 << 16, 1 << 17, params.shape[:-1]) | (rng.integers(22, 26, params.shape[:-1]) << 18)
    return [data, kernel, params, np.zeros(case.out.shape, np.int8)]


def conv_reference(arrays: list[np.ndarray], pad=1, stride=1, zero_point=5) -> np.ndarray:
    data, kernel, params, out = arrays
    n, cb, h, w, b, c = data.shape
    padded = np.full((n, cb, h + 2 * pad, w + 2 * pad, b, c), zero_point, np.int32)
    padded[:, :, pad : pad + h, pad : pad + w] = data
    acc = np.zeros(out.shape, np.int64)
    k = kernel.shape[2]
    oh, ow = out.shape[2:4]
    for ky in range(k):
        for kx in range(k):
            window = padded[:, :, ky : ky + stride * (oh - 1) + 1 : stride, kx : kx + stride * (ow - 1) + 1 : stride]
            acc += np.einsum("ncyxbi,kcoi->nkyxbo", window, kernel[:, :, ky, kx].astype(np.int64), optimize=True)
    bias = params[None, :, None, None, None, :, 0]
    word = params[None, :, None, None, None, :, 1]
    return requant_reference(acc.astype(np.int32), bias, word)


def execute(func: ir.PrimFunc, arrays: list[np.ndarray]) -> None:
    """Run a lowered function (flat buffers) on arrays of the tensors' shapes, in place."""
    run(func, [a.reshape(-1) for a in arrays], INTRINSICS)
