"""The TreeRNN orders loop programs that it has not seen, survives a file, and starts from another model."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from compiler import te
from compiler.ir import PrimFunc
from compiler.lower import lower
from compiler.tune.errors import TuneError
from compiler.tune.features import global_bytes, program_table, table_trees
from compiler.tune.tree_rnn import TreeRNN


def matmul(rows: int, columns: int, n: int = 64) -> PrimFunc:
    """A product in tiles; both operands are copied for each tile."""
    a, b = te.placeholder((n, n), "float32", "A"), te.placeholder((n, n), "float32", "B")
    k = te.reduce_axis(n, "k")
    c = te.compute((n, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), "C")
    s = te.create_schedule(c)
    cached = s.cache_write(c, "local")
    _, jo, _, _ = s[c].tile(c.op.axis[0], c.op.axis[1], rows, columns)
    s[cached].compute_at(s[c], jo)
    for tensor in (a, b):
        s[s.cache_read(tensor, "local", [cached])].compute_at(s[c], jo)
    return lower(s, [a, b, c])


@pytest.fixture(scope="module")
def programs() -> tuple[np.ndarray, np.ndarray]:
    """Trees of all tilings by powers of two and some others, and the bytes that they move."""
    sizes = (1, 2, 4, 8, 16, 32, 64)
    funcs = [matmul(rows, columns) for rows in sizes for columns in sizes]
    trees = np.concatenate([table_trees(program_table(func)) for func in funcs])
    return trees, np.array([global_bytes(func) for func in funcs], float)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = np.array([np.argsort(np.argsort(v)) for v in (a, b)])
    return float(np.corrcoef(ranks).flat[1])


def test_orders_what_it_has_not_seen(programs: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    trees, costs = programs
    order = np.random.default_rng(0).permutation(len(costs))
    known, held_out = order[:30], order[30:]
    measured = costs[known]
    measured[7] = math.inf
    model = TreeRNN(seed=1)
    assert not model.trained
    model.fit(trees[known], measured)
    scores = model.predict(trees[held_out])
    assert rank_correlation(scores, -costs[held_out]) > 0.8
    model.save(tmp_path / "m.json")
    np.testing.assert_allclose(TreeRNN.load(tmp_path / "m.json").predict(trees[held_out]), scores, rtol=1e-4)
    moved = TreeRNN(base=model)
    np.testing.assert_array_equal(moved.predict(trees[held_out]), scores)


def test_only_failures_teach_nothing(programs: tuple[np.ndarray, np.ndarray]) -> None:
    model = TreeRNN()
    model.fit(programs[0][:4], np.full(4, math.inf))
    assert not model.trained


def test_mistakes(programs: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="not trained"):
        TreeRNN().predict(programs[0])
    with pytest.raises(TuneError, match="not trained"):
        TreeRNN(base=TreeRNN())
    with pytest.raises(TuneError, match="cannot read"):
        TreeRNN.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(TuneError, match="not a saved TreeRNN"):
        TreeRNN.load(tmp_path / "bad.json")
