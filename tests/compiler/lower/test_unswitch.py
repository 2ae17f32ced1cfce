"""A condition asked once in a loop: only where nothing inside changes it, and with the same values."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from compiler import ir, te
from compiler.ir.interp import run
from compiler.lower import lower
from compiler.lower.pipeline import Pass
from compiler.lower.unswitch import unswitch
from compiler.ops.compute.indexing import padded

ROWS, COLUMNS = 7, 8


def window(stride: int, tile: int, order: str, pads: tuple[int, int]) -> tuple[te.Schedule, list[te.Tensor]]:
    """A 3x3 window's sums over a padded image that is read where it lies, `tile` of a row written out."""
    x = te.placeholder((ROWS, COLUMNS), "float32", "x")
    source = padded(x, (pads[0], 1), (pads[1], 1), 0.0)
    rows, columns = (source.shape[0] - 3) // stride + 1, (source.shape[1] - 3) // stride + 1
    rh, rw = te.reduce_axis(3, "rh"), te.reduce_axis(3, "rw")
    out = te.compute(
        (rows, columns), lambda h, w: te.sum(source[h * stride + rh, w * stride + rw], axis=(rh, rw)), "out"
    )
    s = te.create_schedule(out)
    s[source].compute_inline()
    h, w = out.op.axis  # type: ignore[attr-defined]
    wo, wi = s[out].split(w, factor=tile)
    s[out].reorder(h, wo, *((rh, rw) if order == "rows outside" else (rw, rh)), wi)
    s[out].unroll(wi)
    return s, [x, out]


def lowered(s: te.Schedule, args: list[te.Tensor]) -> ir.PrimFunc:
    return lower(s, args, target_passes=[Pass("unswitch", unswitch)])


@pytest.mark.parametrize(
    ("stride", "tile", "order", "pads"),
    list(product((1, 2), (1, 4), ("rows outside", "columns outside"), ((1, 1), (1, 0), (2, 2), (0, 0)))),
)
def test_meaning_stays(stride: int, tile: int, order: str, pads: tuple[int, int]) -> None:
    s, (x, out) = window(stride, tile, order, pads)
    func = lowered(s, [x, out])
    image = np.random.default_rng(3).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    whole = np.pad(image, (pads, (1, 1)))
    height, width = out.shape
    expected = np.array(
        [[whole[h * stride :, w * stride :][:3, :3].sum() for w in range(width)] for h in range(height)]
    )
    got = np.zeros(height * width, np.float32)
    run(func, [image.reshape(-1), got])
    np.testing.assert_allclose(got.reshape(out.shape), expected, rtol=1e-5, atol=1e-5)


def test_rows_beside_the_image_are_asked_for_once() -> None:
    func = lowered(*window(1, 4, "rows outside", (1, 1)))
    branches = [s for s in ir.walk_stmt(func.body) if isinstance(s, ir.If)]
    conditions = {ir.expr_text(part.cond) for part in branches}
    assert conditions == {"h + rh >= 1 and h + rh < 8"}
    (selects,) = {
        sum(
            isinstance(node, ir.Select)
            for s in ir.walk_stmt(part.then)
            for e in ir.stmt_exprs(s)
            for node in ir.walk_expr(e)
        )
        for part in branches
    }
    assert selects == 2  # the first of the row and the last


def test_few_selects_stay() -> None:
    s, args = window(1, 1, "rows outside", (1, 1))
    assert not any(isinstance(stmt, ir.If) for stmt in ir.walk_stmt(lowered(s, args).body))


def test_conditions_on_data_stay() -> None:
    x, limit = te.placeholder((8, 4), "float32", "x"), te.placeholder((8,), "float32", "limit")
    y = te.compute((8, 4), lambda i, j: ir.select(limit[i] > 0.0, x[i, j], 0.0), "y")
    s = te.create_schedule(y)
    s[y].unroll(y.op.axis[1])  # type: ignore[attr-defined]
    assert not any(isinstance(stmt, ir.If) for stmt in ir.walk_stmt(lowered(s, [x, limit, y]).body))
