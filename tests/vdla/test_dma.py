"""DMA analysis: the instructions of a copy nest move exactly the bytes that the nest does."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler import te
from compiler.ir import Allocate, Expr, For, IntImm, logical_and, select, walk_stmt
from compiler.ir.interp import run
from compiler.lower import lower
from vdla.target.dma import LONGEST_STRIDE, MOST, CopyNest, Dim, Piece, transfers
from vdla.target.emit import DMA_PRAGMA
from vdla.target.errors import LoweringError


def load_nest(source: te.Tensor, staged: te.Tensor):
    """The lowered copy of ``source`` into ``staged`` (scope inp), and the statement that is the nest."""
    out = te.compute(staged.shape, lambda *i: staged[i], name="out")
    s = te.create_schedule(out)
    s[staged].set_scope("inp")
    s[staged].pragma(staged.op.axis[0], DMA_PRAGMA)
    func = lower(s, [source, out], "copy")
    nest = next(x for x in walk_stmt(func.body) if isinstance(x, For) and DMA_PRAGMA in x.annotations)
    buffer = next(x.buffer for x in walk_stmt(func.body) if isinstance(x, Allocate))
    return func, nest, buffer


def execute(nest: CopyNest, dram: np.ndarray, size: int) -> np.ndarray:
    """The buffer that the nest's transfers leave, bytes; what they do not write stays 0xEE."""
    sram = np.full(size, 0xEE, np.uint8)
    base_sram, base_dram = nest.bases(())
    for t in nest.transfers(()):
        for y, x in product(range(t.y.count), range(t.x.count)):
            at = base_sram + t.sram + y * t.y.sram + x * t.x.sram
            if t.fill:
                sram[at : at + t.seg] = nest.fill_byte
            else:
                start = base_dram + t.dram + y * t.y.dram + x * t.x.dram
                assert start >= 0 and start + t.seg <= dram.size
                sram[at : at + t.seg] = dram[start : start + t.seg]
    return sram


def check(source: te.Tensor, staged: te.Tensor) -> None:
    func, stmt, buffer = load_nest(source, staged)
    rng = np.random.default_rng(3)
    data = rng.integers(-128, 128, source.shape).astype(np.int8)
    expected = np.zeros(staged.shape, np.int8)
    run(func, [data.reshape(-1), expected.reshape(-1)])
    got = execute(CopyNest(stmt, ()), data.reshape(-1).view(np.uint8), buffer.nbytes)
    np.testing.assert_array_equal(got.view(np.int8).reshape(staged.shape), expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.sampled_from([2, 4]), st.sampled_from([2, 4, 8]),
    st.tuples(*[st.integers(0, 2)] * 4), st.integers(-128, 127),
)  # fmt: skip
def test_padded_and_reblocked_activations(
    blocks: int, h: int, w: int, c: int, block: int, pads: tuple[int, int, int, int], value: int
) -> None:
    """Padding on any side, channel blocks merged or split, a tail of channels that do not exist."""
    a = te.placeholder((blocks, h, w, c), "int8", "a")
    top, left, bottom, right = pads
    wanted = -(-blocks * c // block)

    def element(cb: Expr, y: Expr, x: Expr, k: Expr) -> Expr:
        channel = cb * block + k
        guards = [channel < blocks * c, y >= top, y < h + top, x >= left, x < w + left]
        return select(logical_and(*guards), a[channel // c, y - top, x - left, channel % c], IntImm(value, "int8"))

    check(a, te.compute((wanted, h + top + bottom, w + left + right, block), element, name="staged"))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([4, 8]))
def test_patches(kh: int, kw: int, channels: int, stride: int, block: int) -> None:
    """Overlapping windows of an image gathered into consecutive lanes, with a tail of zeros."""
    oh = ow = 3
    row = ((ow - 1) * stride + kw) * channels
    a = te.placeholder(((oh - 1) * stride + kh, row), "int8", "a")
    span, size = kw * channels, kh * kw * channels

    def element(y: Expr, x: Expr, kb: Expr, k: Expr) -> Expr:
        at = kb * block + k
        value = a[y * stride + at // span, x * (stride * channels) + at % span]
        return select(at < size, value, IntImm(0, "int8")) if size % block else value

    check(a, te.compute((oh, ow, -(-size // block), block), element, name="staged"))


def test_a_padded_image_is_one_transfer_and_one_fill() -> None:
    a = te.placeholder((4, 6), "int8", "a")
    staged = te.compute(
        (4, 8), lambda y, x: select(logical_and(x >= 1, x < 7), a[y, x - 1], IntImm(5, "int8")), name="staged"
    )
    _, stmt, _ = load_nest(a, staged)
    found = CopyNest(stmt, ()).transfers(())
    assert [t.fill for t in found] == [True, False]  # the left and the right column step evenly: one fill
    data = found[-1]
    assert (data.seg, data.x) == (6, Dim(4, 8, 6))  # one contiguous run of 24 bytes in DRAM


def test_contiguous_dimensions_merge() -> None:
    found = transfers(Piece(3, 7, (Dim(4, 30, 100), Dim(5, 6, 20), Dim(6, 1, 1)), False))
    assert len(found) == 1 and found[0].seg == 6
    assert found[0].x == Dim(20, 6, 20)  # 5 steps of 6 bytes reach the next of the 4


def test_arithmetic_is_refused() -> None:
    a = te.placeholder((4, 4), "int8", "a")
    staged = te.compute((4, 4), lambda y, x: a[y, x] + a[y, x], name="staged")
    _, stmt, _ = load_nest(a, staged)
    with pytest.raises(LoweringError, match="cannot compute"):
        CopyNest(stmt, ())


@pytest.mark.parametrize(
    "dims",
    [
        (Dim(3, 40, LONGEST_STRIDE + 1), Dim(4, 10, 16)),
        (Dim(2, 1000, LONGEST_STRIDE), Dim(3, 100, 2 * LONGEST_STRIDE), Dim(5, 2, 3)),
        (Dim(2 * MOST + 5, 2, 8),),
        (Dim(2, 4 * MOST, 16 * MOST), Dim(MOST + 1, 2, 8)),
        (Dim(MOST + 2, 8, 12), Dim(2, 4, 1), Dim(2, 1, 40)),
    ],
)
@pytest.mark.parametrize("fill", [False, True])
def test_long_strides_and_long_loops_take_several_instructions(dims: tuple[Dim, ...], fill: bool) -> None:
    """The fields of an instruction hold them all, and the same bytes are moved once each."""

    def places(sram: int, dram: int, dims: tuple[Dim, ...], seg: int = 1) -> np.ndarray:
        at = np.array([[sram, dram]], np.int64)
        for d in (*dims, Dim(seg, 1, 1)):
            at = (at[:, None] + np.arange(d.count)[None, :, None] * np.array([d.sram, d.dram])).reshape(-1, 2)
        return at[:, :1] if fill else at

    parts = transfers(Piece(7, 11, dims, fill))
    for t in parts:
        assert 1 <= t.x.count <= MOST and 1 <= t.y.count <= MOST
        assert fill or max(t.x.dram, t.y.dram) <= LONGEST_STRIDE
    moved = np.concatenate([places(t.sram, t.dram, (t.y, t.x), t.seg) for t in parts])
    expected = places(7, 11, dims)
    assert len(moved) == len(expected)
    np.testing.assert_array_equal(np.unique(moved, axis=0), np.unique(expected, axis=0))
