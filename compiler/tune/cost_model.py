"""Cost models: from features of a candidate to a score by which candidates are ordered (higher is better).

Gradient-boosted trees (XGBoost) with a rank objective: what matters is the order of candidates, not their times.  The
regression alternative predicts the logarithm of the cost relative to the best one.  Both start, if asked, from a saved
model (of another workload or machine): the new trees then correct its scores.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from compiler.tune.errors import TuneError

# Shallow trees, each of a part of the rows and columns: the first models learn from a batch or two, where trees of
# depth 5 on everything led the search astray for twice as long.
_PARAMETERS = {
    "max_depth": 3,
    "eta": 0.2,
    "min_child_weight": 0.5,
    "subsample": 0.7,
    "colsample_bytree": 0.7,
    "lambda": 1.0,
    "gamma": 1e-4,
    "verbosity": 0,
    "nthread": 1,
    "tree_method": "exact",
}  # nthread: more threads are slower by orders of magnitude on matrices this small


class CostModel(Protocol):
    """Learns to order candidates."""

    @property
    def trained(self) -> bool:
        """Whether it can predict."""
        ...

    def fit(self, features: np.ndarray, costs: np.ndarray) -> None:
        """Learn from measured costs, float [points]; infinity is a failure. ``features``: float32 [points, n]."""
        ...

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Scores, float [points]."""
        ...


class Base(Protocol):
    """What a model may start from: scores by the same features."""

    @property
    def trained(self) -> bool:
        """Whether it can predict."""
        ...

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Scores, float [points]."""
        ...


class XGBoostModel:
    """Boosted trees.

    Args:
        objective: ``rank`` (pairs of all candidates) or ``regression``.
        seed: of the boosting.
        rounds: trees.
        base: a trained model to start from.
    """

    def __init__(self, objective: str = "rank", seed: int = 0, rounds: int = 60, base: Base | None = None) -> None:
        if objective not in ("rank", "regression"):
            raise TuneError(f"no objective '{objective}'; there are rank and regression")
        if base is not None and not base.trained:
            raise TuneError("the model to start from is not trained")
        self.objective, self._seed, self._rounds = objective, seed, rounds
        self._base = base
        self._booster: Any = None
        self._xgboost = _xgboost()

    @property
    def trained(self) -> bool:
        """Whether it has learnt, or starts from a model that has."""
        return self._booster is not None or self._base is not None

    def fit(self, features: np.ndarray, costs: np.ndarray, groups: Sequence[int] = ()) -> None:
        """Train anew on all that is known.  Without one success there is nothing to learn, and nothing changes.

        ``groups``: how many points belong to each workload, when there are several: costs are compared within one.
        """
        finite = np.isfinite(costs)
        if not finite.any():
            return
        # A failure is worse than every success, but not so much that nothing else would count.
        costs = np.where(finite, costs, 2.0 * float(costs[finite].max()))
        groups = list(groups) or [len(costs)]
        starts = np.cumsum([0, *groups[:-1]])
        relative = np.repeat(np.minimum.reduceat(costs, starts), groups) / costs
        label = relative if self.objective == "rank" else np.log(relative)
        matrix = self._xgboost.DMatrix(features, label, nthread=1)
        parameters: dict[str, Any] = {**_PARAMETERS, "seed": self._seed}
        if self.objective == "rank":
            matrix.set_group(groups)
            # The default draws one pair a candidate, far too few for one group of hundreds.
            pairs = {"lambdarank_pair_method": "topk", "lambdarank_num_pair_per_sample": max(groups)}
            parameters |= {"objective": "rank:pairwise", "lambdarank_normalization": False, **pairs}
        else:
            parameters["objective"] = "reg:squarederror"
        if self._base is not None:
            matrix.set_base_margin(self._base.predict(features))
        self._booster = self._xgboost.train(parameters, matrix, self._rounds)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Scores.  Raises TuneError before training."""
        if not self.trained:
            raise TuneError("the cost model is not trained")
        base = None if self._base is None else self._base.predict(features)
        if self._booster is None:
            assert base is not None
            return base
        margin = self._booster.inplace_predict(features, predict_type="margin", base_margin=base)
        return np.asarray(margin, float)

    def save(self, path: str | Path) -> None:
        """Write the model, with the one it started from, as JSON.  Raises TuneError before training."""
        try:
            Path(path).write_text(json.dumps(self._document()))
        except OSError as error:
            raise TuneError(f"cannot write {path}: {error.strerror or error}") from error

    def _document(self) -> dict[str, Any]:
        if not self.trained:
            raise TuneError("the cost model is not trained")
        if self._base is not None and not isinstance(self._base, XGBoostModel):
            raise TuneError("the model starts from scores that are not part of it, and cannot be saved alone")
        trees = None if self._booster is None else json.loads(self._booster.save_raw("json").decode())
        return {
            "schema": "vdla.cost_model/1",
            "objective": self.objective,
            "trees": trees,
            "base": None if self._base is None else self._base._document(),
        }

    @staticmethod
    def load(path: str | Path, seed: int = 0) -> XGBoostModel:
        """The model of a file.  Raises TuneError when it cannot be read."""
        try:
            return XGBoostModel._of(json.loads(Path(path).read_text()), seed)
        except OSError as error:
            raise TuneError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise TuneError(f"{path} is not a saved cost model") from error

    @staticmethod
    def _of(document: dict[str, Any], seed: int) -> XGBoostModel:
        base = document["base"]
        model = XGBoostModel(document["objective"], seed, base=None if base is None else XGBoostModel._of(base, seed))
        if document["trees"] is not None:
            model._booster = model._xgboost.Booster({"nthread": 1})
            model._booster.load_model(bytearray(json.dumps(document["trees"]).encode()))
        return model


def _xgboost() -> Any:
    try:
        import xgboost
    except ImportError as error:
        raise TuneError("the learned cost model needs XGBoost: pip install 'vdla[tune]'") from error
    return xgboost
