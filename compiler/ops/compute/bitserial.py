"""Arithmetic of one or two bits, bit by bit: the products of a pair of bits are an AND, their sum a population count.

Numbers are unsigned. `packed` takes them apart into bit planes, eight numbers a byte; a dot product is the sum over
pairs of planes p, q of ``popcount(x_p & w_q) << (p + q)``.
"""

from __future__ import annotations

from collections.abc import Sequence

from compiler.errors import ShapeError
from compiler.ir import Expr, call, const
from compiler.ops.compute.indexing import padded
from compiler.te.tensor import Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum

#: the tag of the convolution's stage
BITSERIAL = "bitserial"


def packed(x: Tensor, bits: int, name: str = "planes") -> Tensor:
    """Bit planes of uint8 [N,C,H,W], each number < 2**bits, as uint8 [N,bits,H,W,C/8].

    Channel 8*b+i is bit i of byte b.

    Raises:
        ShapeError: the channels are no multiple of 8.
    """
    n, channels, height, width = x.shape
    if channels % 8 or not 1 <= bits <= 8:
        raise ShapeError(f"planes of {bits} bits of {list(x.shape)}: bits must be 1 to 8 and channels a multiple of 8")

    def byte(n: Expr, p: Expr, h: Expr, w: Expr, b: Expr) -> Expr:
        out: Expr = const(0, "uint8")
        for i in range(8):
            out = out | (((x[n, b * 8 + i, h, w] >> p.astype("uint8")) & 1) << i)
        return out

    return compute((n, bits, height, width, channels // 8), byte, name)


def bitserial_conv2d(
    x: Tensor, w: Tensor, strides: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 0, 0, 0), name: str = "conv2d"
) -> Tensor:
    """Convolution of bit planes.

    Args:
        x: uint8 [N,P,H,W,C/8], from `packed`.
        w: uint8 [O,Q,kh,kw,C/8], planes of the weights.
        pads: top, left, bottom, right; padding is zeros.

    Returns:
        int32 [N,H',W',O].

    Raises:
        ShapeError: x and w differ in their bytes, or the window does not fit.
    """
    (n, x_bits, height, width, count), (outputs, w_bits, kh, kw, w_count) = x.shape, w.shape
    (sh, sw), (top, left, bottom, right) = strides, pads
    rows, columns = (height + top + bottom - kh) // sh + 1, (width + left + right - kw) // sw + 1
    if count != w_count or min(rows, columns) < 1:
        raise ShapeError(f"a convolution of bit planes {list(x.shape)} with {list(w.shape)}, pads {list(pads)}")
    source = padded(x, (0, 0, top, left, 0), (0, 0, bottom, right, 0), 0) if any(pads) else x
    window = (n, rows, columns, x_bits, kh, kw, count)
    # What one pixel reads, in the order in which it is read.
    patches = compute(window, lambda n, h, w, p, i, j, b: source[n, p, h * sh + i, w * sw + j, b], f"{name}_patches")
    p, q = reduce_axis(x_bits, "p"), reduce_axis(w_bits, "q")
    rh, rw, rc = reduce_axis(kh, "rh"), reduce_axis(kw, "rw"), reduce_axis(count, "rc")

    def element(n: Expr, h: Expr, w_: Expr, o: Expr) -> Expr:
        both = patches[n, h, w_, p, rh, rw, rc] & w[o, q, rh, rw, rc]
        return te_sum(call("popcount", both).astype("int32") << (p + q), axis=(p, q, rh, rw, rc))

    return compute((n, rows, columns, outputs), element, name, tag=BITSERIAL)


def bitserial_dense(x: Tensor, w: Tensor, name: str = "dense") -> Tensor:
    """Product of bit planes x uint8 [N,P,K/8] and w uint8 [O,Q,K/8]: int32 [N,O].

    Raises:
        ShapeError: x and w differ in their bytes.
    """
    (n, x_bits, count), (outputs, w_bits, w_count) = x.shape, w.shape
    if count != w_count:
        raise ShapeError(f"a product of bit planes {list(x.shape)} and {list(w.shape)}")
    p, q, k = reduce_axis(x_bits, "p"), reduce_axis(w_bits, "q"), reduce_axis(count, "k")

    def element(n: Expr, o: Expr) -> Expr:
        return te_sum(call("popcount", x[n, p, k] & w[o, q, k]).astype("int32") << (p + q), axis=(p, q, k))

    return compute((n, outputs), element, name, tag=BITSERIAL)
