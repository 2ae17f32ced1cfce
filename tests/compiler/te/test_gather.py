"""Elements whose position is itself read from a tensor, under schedules that move the index's own variables."""

from __future__ import annotations

import numpy as np
import pytest

from compiler import te
from compiler.ir.interp import run
from compiler.lower import lower
from vdla import host


@pytest.mark.parametrize("inlined", [False, True])
def test_index_read_from_a_tensor(inlined: bool) -> None:
    table = te.placeholder((9, 4), "float32", "table")
    index = te.placeholder((6,), "int32", "index")
    shifted = te.compute((6,), lambda i: index[i] + 1, "shifted")
    picked = te.compute((6, 4), lambda i, j: table[shifted[i], j] * 2.0, "picked")
    out = te.compute((4, 5), lambda j, i: picked[i + 1, j], "out")
    s = te.create_schedule(out)
    outer, inner = s[out].split(out.op.axis[1], factor=2)
    s[out].reorder(outer, out.op.axis[0], inner)
    if inlined:
        s[shifted].compute_inline()
    s[picked].compute_at(s[out], outer)
    rng = np.random.default_rng(4)
    values = rng.standard_normal((9, 4)).astype(np.float32)
    where = rng.integers(0, 8, 6).astype(np.int32)
    expected = (values[where + 1] * 2)[1:].T
    found = np.zeros((4, 5), np.float32)
    args = [table, index, out]
    run(lower(s, args), [values.reshape(-1), where, found.reshape(-1)])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(host.run(s, args, values, where)[0], expected)
