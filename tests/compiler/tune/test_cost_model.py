"""Cost models: they order candidates they have not seen, survive a file, and start from another model."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from compiler.tune.cost_model import XGBoostModel
from compiler.tune.errors import TuneError


def data(seed: int, points: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).random((points, 12)).astype(np.float32)
    return x, 1000 * np.exp(2 * x[:, 0] + 3 * x[:, 1] * x[:, 2] + np.abs(x[:, 3] - 0.5 - shift)).astype(float)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = np.array([np.argsort(np.argsort(v)) for v in (a, b)])
    return float(np.corrcoef(ranks).flat[1])


@pytest.mark.parametrize("objective", ["rank", "regression"])
def test_orders_what_it_has_not_seen(objective: str, tmp_path: Path) -> None:
    x, costs = data(0, 200)
    costs[::40] = math.inf  # failures that no feature tells of
    model = XGBoostModel(objective, seed=1)
    assert not model.trained
    model.fit(x, costs)
    held_out, truth = data(1, 500)
    scores = model.predict(held_out)
    assert rank_correlation(scores, -truth) > 0.85
    model.save(tmp_path / "m.json")
    assert np.array_equal(XGBoostModel.load(tmp_path / "m.json").predict(held_out), scores)


@pytest.mark.parametrize("objective", ["rank", "regression"])
def test_starts_from_another_model(objective: str, tmp_path: Path) -> None:
    base = XGBoostModel(objective)
    base.fit(*data(0, 300))
    few, costs = data(2, 12, shift=0.1)
    held_out, truth = data(3, 500, shift=0.1)
    scratch, moved = XGBoostModel(objective), XGBoostModel(objective, base=base)
    assert moved.trained and np.allclose(moved.predict(held_out), base.predict(held_out))
    scratch.fit(few, costs)
    moved.fit(few, costs)
    transferred = rank_correlation(moved.predict(held_out), -truth)
    assert transferred > 0.85 and transferred > rank_correlation(scratch.predict(held_out), -truth) + 0.1
    moved.save(tmp_path / "m.json")
    assert np.allclose(XGBoostModel.load(tmp_path / "m.json").predict(held_out), moved.predict(held_out))


def test_only_failures_teach_nothing() -> None:
    model = XGBoostModel()
    model.fit(data(0, 4)[0], np.full(4, math.inf))
    assert not model.trained


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="no objective 'best'"):
        XGBoostModel("best")
    with pytest.raises(TuneError, match="not trained"):
        XGBoostModel().predict(data(0, 1)[0])
    with pytest.raises(TuneError, match="not trained"):
        XGBoostModel(base=XGBoostModel())
    with pytest.raises(TuneError, match="cannot read"):
        XGBoostModel.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(TuneError, match="not a saved cost model"):
        XGBoostModel.load(tmp_path / "bad.json")
