"""The paper's other cost model: a recurrent network that reads the loop tree (``pip install vdla[tree]``, PyTorch).

A program is the set of its accesses and an access the chain of loops around it
(:func:`compiler.tune.features.table_trees`).  A gated recurrent cell runs up each chain from the innermost loop, its
start telling which access it is; what the chains end in is summed and scored.  The objective is that of the trees:
pairs of candidates in the right order.  Refitting goes on from the weights of the last fit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from compiler.tune.errors import TuneError
from compiler.tune.features import ACCESSES, TREE_FEATURES, TREE_LOOPS

SCHEMA = "vdla.tree_rnn/1"


class TreeRNN:
    """A cost model (:class:`compiler.tune.cost_model.CostModel`) over loop trees; higher scores are better.

    Args:
        seed: of the weights and of the order of training.
        hidden: width of the recurrent state.
        first, more: epochs of the first fit and of each further one.
        base: a trained model whose weights to begin with.
    """

    def __init__(
        self, seed: int = 0, hidden: int = 32, first: int = 120, more: int = 40, base: TreeRNN | None = None
    ) -> None:
        if base is not None and not base.trained:
            raise TuneError("the model to start from is not trained")
        self._torch = _torch()
        self._seed, self._hidden, self._first, self._more = seed, hidden, first, more
        self._net = _network(self._torch, hidden if base is None else base._hidden, seed)
        self.trained = False
        if base is not None:
            self._hidden = base._hidden
            self._net.load_state_dict(base._net.state_dict())
            self.trained = True

    def fit(self, features: np.ndarray, costs: np.ndarray) -> None:
        """Learn from measured costs, float [points]; infinity is a failure.  ``features``: rows of ``table_trees``.

        Without one success there is nothing to learn, and nothing changes.
        """
        finite = np.isfinite(costs)
        if not finite.any():
            return
        torch = self._torch
        # A failure is worse than every success, but not so much that nothing else would count.
        costs = np.where(finite, costs, 2.0 * float(costs[finite].max()))
        truth = torch.tensor(np.log2(costs), dtype=torch.float32)
        rows = torch.from_numpy(np.ascontiguousarray(features, np.float32))
        if not self.trained:
            self._net.standardise(rows)
        optimizer = torch.optim.Adam(self._net.parameters(), lr=5e-3)
        with _one_thread(torch):
            for _ in range(self._more if self.trained else self._first):
                scores = self._net(rows)
                # Pairs that differ more count more, up to a factor of two in cost.
                better = truth[None, :] - truth[:, None]
                weight = better.clamp(0.0, 1.0)
                losses = torch.nn.functional.softplus(scores[None, :] - scores[:, None]) * weight
                loss = losses.sum() / weight.sum().clamp(min=1e-6)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self.trained = True

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Scores, float [points].  Raises TuneError before training."""
        if not self.trained:
            raise TuneError("the cost model is not trained")
        rows = self._torch.from_numpy(np.ascontiguousarray(features, np.float32))
        with self._torch.no_grad(), _one_thread(self._torch):
            return self._net(rows).numpy().astype(float)

    def save(self, path: str | Path) -> None:
        """Write the weights as JSON.  Raises TuneError before training, or when the file cannot be written."""
        if not self.trained:
            raise TuneError("the cost model is not trained")
        weights = {name: value.tolist() for name, value in self._net.state_dict().items()}
        try:
            Path(path).write_text(json.dumps({"schema": SCHEMA, "hidden": self._hidden, "weights": weights}))
        except OSError as error:
            raise TuneError(f"cannot write {path}: {error.strerror or error}") from error

    @staticmethod
    def load(path: str | Path, seed: int = 0) -> TreeRNN:
        """The model of a file.  Raises TuneError when it cannot be read."""
        try:
            document = json.loads(Path(path).read_text())
            model = TreeRNN(seed, document["hidden"])
            state = {name: model._torch.tensor(value) for name, value in document["weights"].items()}
            model._net.load_state_dict(state)
        except OSError as error:
            raise TuneError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise TuneError(f"{path} is not a saved TreeRNN") from error
        model.trained = True
        return model


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise TuneError("the TreeRNN needs PyTorch: pip install 'vdla[tree]'") from error
    return torch


class _one_thread:
    """PyTorch on one thread: the matrices are small, and tuners run side by side."""

    def __init__(self, torch: Any) -> None:
        self._torch, self._before = torch, torch.get_num_threads()

    def __enter__(self) -> None:
        self._torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        self._torch.set_num_threads(self._before)


def _network(torch: Any, hidden: int, seed: int) -> Any:
    """The module: rows of ``table_trees`` to scores."""
    nn = torch.nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # What rows of the first fit look like: features that never vary are no features.
            self.register_buffer("mean", torch.zeros(ACCESSES, TREE_LOOPS, TREE_FEATURES))
            self.register_buffer("scale", torch.ones(ACCESSES, TREE_LOOPS, TREE_FEATURES))
            self.start = nn.Parameter(0.1 * torch.randn(ACCESSES, hidden))
            self.cell = nn.GRUCell(TREE_FEATURES, hidden)
            self.chain = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU())
            self.score = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

        def standardise(self, rows: Any) -> None:
            tree = rows.view(-1, ACCESSES, TREE_LOOPS, TREE_FEATURES)
            self.mean.copy_(tree.mean(dim=0))
            self.scale.copy_(1.0 / (tree.std(dim=0, correction=0) + 0.1))

        def forward(self, rows: Any) -> Any:
            tree = rows.view(-1, ACCESSES, TREE_LOOPS, TREE_FEATURES)
            used = int(tree[..., 0].any(dim=2).any(dim=0).nonzero().max()) + 1
            present = tree[:, :used, :, :1]
            tree = ((tree - self.mean) * self.scale)[:, :used]
            state = self.start[:used].repeat(len(tree), 1)
            for loop in range(TREE_LOOPS):
                there = present[:, :, loop].reshape(-1, 1)
                if there.any():
                    level = tree[:, :, loop].reshape(-1, TREE_FEATURES)
                    state = torch.where(there > 0, self.cell(level, state), state)
            return self.score(self.chain(state).view(len(tree), used, -1).sum(dim=1))[:, 0]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()
