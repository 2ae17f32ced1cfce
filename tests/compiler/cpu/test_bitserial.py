"""Bit-serial convolution and dense layers against numpy: plain loops, the interpreter, the micro-kernel, ARM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.guest import run_kernel
from compiler import te
from compiler.backend.cpu.bitserial import bitserial_intrin, schedule_bitserial
from compiler.errors import CompileError, ShapeError
from compiler.ir import interp
from compiler.lower import lower
from compiler.ops.compute.bitserial import bitserial_conv2d, bitserial_dense, packed
from vdla import host

RNG = np.random.default_rng(11)


def planes(x: np.ndarray, bits: int) -> np.ndarray:
    """Numbers [..., K] as bit planes [bits, ..., K/8]."""
    return np.stack([np.packbits((x >> i) & 1, axis=-1, bitorder="little") for i in range(bits)])


def convolution(x: np.ndarray, w: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """x [N,H,W,C], w [O,kh,kw,C] -> [N,H',W',O]."""
    x = np.pad(x.astype(np.int32), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    kh, kw = w.shape[1:3]
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,oijc->nhwo", windows, w.astype(np.int32)).astype(np.int32)


def numbers(bits: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 1 << bits, shape).astype(np.uint8)


# window, stride, pad, channels, outputs; the last one's bytes are more than counts that a byte holds
CASES = [(3, 1, 1, 64, 8), (1, 2, 0, 128, 6), (3, 2, 1, 128, 4), (3, 1, 1, 512, 2)]


def conv_case(case: tuple[int, ...], x_bits: int, w_bits: int):
    k, stride, pad, channels, outputs = case
    x, w = numbers(x_bits, 1, 5, 5, channels), numbers(w_bits, outputs, k, k, channels)
    x_planes = planes(x, x_bits).swapaxes(0, 1)
    w_planes = planes(w, w_bits).swapaxes(0, 1)
    a, b = te.placeholder(x_planes.shape, "uint8", "a"), te.placeholder(w_planes.shape, "uint8", "b")
    y = bitserial_conv2d(a, b, (stride, stride), (pad,) * 4)
    return (a, b, y), (x_planes, w_planes), convolution(x, w, stride, pad)


@pytest.mark.parametrize("bits", [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("case", CASES)
def test_convolution(case: tuple[int, ...], bits: tuple[int, int]) -> None:
    (a, b, y), arrays, expected = conv_case(case, *bits)
    for tensorized in (False, True):
        (got,) = host.run(schedule_bitserial(y, tensorized=tensorized), [a, b, y], *arrays)
        np.testing.assert_array_equal(got, expected)


def test_the_interpreter_counts_bits_as_machine_code_does() -> None:
    (a, b, y), arrays, expected = conv_case((1, 1, 0, 8, 2), 2, 1)
    out = np.zeros(expected.shape, np.int32)
    func = lower(schedule_bitserial(y, tensorized=False), [a, b, y], "f")
    interp.run(func, [np.ascontiguousarray(array).reshape(-1) for array in arrays] + [out.reshape(-1)])
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("platform", ["arm64", "armv7"])
def test_micro_kernel_on_arm(platform: str, tmp_path: Path) -> None:
    (a, b, y), arrays, expected = conv_case((3, 1, 1, 128, 4), 2, 2)
    func = lower(schedule_bitserial(y), [a, b, y], "layer")
    results, count = run_kernel(func, [*arrays, np.zeros(expected.shape, np.int32)], platform, tmp_path)
    np.testing.assert_array_equal(results[2], expected)
    plain = lower(schedule_bitserial(y, tensorized=False), [a, b, y], "layer")
    assert count < run_kernel(plain, [*arrays, np.zeros(expected.shape, np.int32)], platform, tmp_path)[1]


@pytest.mark.parametrize("tensorized", [False, True])
def test_dense(tensorized: bool) -> None:
    x, w = numbers(2, 3, 256), numbers(1, 10, 256)
    x_planes, w_planes = planes(x, 2).swapaxes(0, 1), planes(w, 1).swapaxes(0, 1)
    a, b = te.placeholder(x_planes.shape, "uint8", "a"), te.placeholder(w_planes.shape, "uint8", "b")
    y = bitserial_dense(a, b)
    (got,) = host.run(schedule_bitserial(y, tensorized=tensorized), [a, b, y], x_planes, w_planes)
    np.testing.assert_array_equal(got, x.astype(np.int32) @ w.T.astype(np.int32))


def test_packing() -> None:
    x = numbers(2, 1, 16, 3, 5)
    a = te.placeholder(x.shape, "uint8", "a")
    p = packed(a, 2)
    (got,) = host.run(te.create_schedule(p), [a, p], x)
    np.testing.assert_array_equal(got, planes(x.transpose(0, 2, 3, 1), 2).swapaxes(0, 1))


def test_errors() -> None:
    a, b = te.placeholder((1, 1, 4, 4, 8), "uint8", "a"), te.placeholder((4, 1, 3, 3, 16), "uint8", "b")
    with pytest.raises(ShapeError, match="a convolution of bit planes"):
        bitserial_conv2d(a, b)
    with pytest.raises(ShapeError, match="multiple of 8"):
        packed(te.placeholder((1, 12, 4, 4), "uint8", "x"), 1)
    with pytest.raises(ShapeError, match="a product of bit planes"):
        bitserial_dense(te.placeholder((1, 1, 8), "uint8", "x"), te.placeholder((1, 1, 9), "uint8", "w"))
    with pytest.raises(CompileError, match="rows of 3 bytes"):
        bitserial_intrin(4, 1, 1, (3, 3), 1)
    with pytest.raises(CompileError, match="'p' is no bit-serial operator"):
        schedule_bitserial(te.compute((4,), lambda i: a[0, 0, 0, i, 0], "p"))
