"""Tuning for VDLA: operators measured by the cycle simulator, and what a network takes of what was found.

Alone an operator is not in its network, where a layer's first loads run under the layer before; so the best tiles are
then tried in the network itself, and only those that shorten it are kept.  The result is never slower than the default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from compiler.tune.database import Database, Record
from compiler.tune.measure import Measurer, ProcessMeasurer
from compiler.tune.outdated import warm_start
from compiler.tune.search import Explorer
from compiler.tune.space import ConfigEntity, ConfigSpace
from compiler.tune.transfer import Prior
from compiler.tune.tuner import Task, Tuning
from hw.config import Config
from runtime.artifact import VdlaStep
from runtime.version import KIT_VERSION
from vdla.api import compile, simulate
from vdla.errors import UsageError
from vdla.resolve import random_inputs
from vdla.tune.estimate import EstimateFeatures, estimates
from vdla.tune.lookup import NETWORK, ChosenTiles, SpecCollector, key_of
from vdla.tune.operators import Operator
from vdla.tune.session import OperatorState, Session, TuneOptions, learned_search, make_explorer
from vdla.tune.simulate import CycleCost
from vdla.tune.templates import AnyTile, Spec, default_point, knobs_of, space_of, tile_of, workload

if TYPE_CHECKING:
    import onnx
    from distributed.security import Security

    from compiler.tune.pool import PoolMeasurer

WORKER_BYTES = 8 << 30
"""Address space of a measuring process."""

NETWORK_TRIES = 2
"""Tiles of each operator that are tried in the network."""

WORTH_TRYING = 2e-4
"""Share of the network's cycles that an operator must save alone to be tried in it."""


def explorer_of(
    options: TuneOptions, cfg: Config, spec: Spec, space: ConfigSpace, database: Database
) -> tuple[Explorer, Prior | None]:
    """The explorer that the options ask for; the learned one knows the compiler's estimates.  With what its model
    starts from."""

    def learned() -> tuple[Explorer, Prior | None]:
        estimated = estimates(cfg, spec, space)
        start = sorted(estimated, key=lambda point: (estimated[point], point))[: options.batch]
        return learned_search(options, database, key_of(cfg, spec), space, EstimateFeatures(space, estimated), start)

    return make_explorer(options, space, learned)


def accelerator_session(
    cfg: Config, operators: Sequence[Operator], database: Database, measurer: Measurer, options: TuneOptions
) -> Session:
    """The tuning of operators on a machine.  ``measurer``: runs :class:`vdla.tune.simulate.CycleCost` jobs."""

    def state(operator: Operator) -> OperatorState:
        spec = operator.spec
        space = space_of(cfg, spec)
        default = default_point(cfg, spec, space)

        def job(point: int) -> tuple[Spec, AnyTile]:
            return spec, tile_of(ConfigEntity(space, point), cfg, spec)

        task = Task(operator.name, key_of(cfg, spec), space, default.index, "cycles", job)
        explorer, prior = explorer_of(options, cfg, spec, space, database)
        first = warm_start(database, task.key, space, NETWORK)
        tuning = Tuning(task, explorer, measurer, database, trials=options.trials, batch=options.batch, first=first)
        return OperatorState(operator, space, tuning, operator.floor(cfg), prior)

    states = [state(operator) for operator in operators]
    return Session(states, database, options, (cfg.name, cfg.fingerprint), "cycles")


# ------------------------------------------------------------------------------------------------ networks


@dataclass(frozen=True)
class Network:
    """A model to tune: everything that compiling it takes."""

    model: str | Path | onnx.ModelProto
    cfg: Config
    options: dict[str, Any] = field(default_factory=dict)

    def operators(self) -> list[Operator]:
        """The operators that VDLA runs, each once.  Raises UsageError when there are none."""
        collector = SpecCollector()
        artifact = compile(self.model, config=self.cfg, tiles=collector, **self.options)
        if not collector.specs:
            raise UsageError("no operator of the model runs on VDLA: there is nothing to tune")
        # The compiler asks for a layer's tile a few times, for some once less than for others.
        layers = sum(len(step.layers) for step in artifact.steps if isinstance(step, VdlaStep))
        share = layers / sum(collector.asked.values())
        uses = {name: max(1, round(count * share)) for name, count in collector.asked.items()}
        return [Operator(name, spec, uses[name]) for name, spec in collector.specs.items()]

    def cycles(self, tiles: dict[str, AnyTile]) -> int:
        """Cycles of one inference with these tiles, the other operators having their defaults."""
        artifact = compile(self.model, config=self.cfg, tiles=ChosenTiles(tiles), **self.options)
        return int(simulate(artifact, random_inputs(artifact.inputs)).document["totals"]["cycles"])


@dataclass(frozen=True)
class NetworkOutcome:
    """Cycles of a network with default tiles and with those chosen (workload -> tile; default ones are absent)."""

    default: int
    best: int
    tiles: dict[str, AnyTile]


def choose_in_network(
    network: Network, session: Session, watch: Callable[[str, int], None] | None = None
) -> NetworkOutcome:
    """Try the best tiles in the network, keep what shortens it, and save the choice in the database.

    Where nothing new was measured since the last choice, that choice is only checked.

    Args:
        watch: told what is tried, and the fewest cycles so far.
    """
    default = best = network.cycles({})
    chosen: dict[str, AnyTile] = {}
    saved = _saved_choice(network.cfg, session)
    if saved is not None:
        cycles = network.cycles(saved) if saved else default
        if cycles < default or not saved:
            return NetworkOutcome(default, cycles, saved)

    def attempt(what: str, tiles: dict[str, AnyTile]) -> None:
        nonlocal best, chosen
        if watch is not None:
            watch(what, best)
        cycles = network.cycles(tiles)
        if cycles < best:
            best, chosen = cycles, tiles

    worth = [state for state in session.states if _saving(state) > WORTH_TRYING * default]
    ranked = [(state, _best_tiles(network.cfg, session, state)) for state in sorted(worth, key=_saving, reverse=True)]
    together = {workload(_spec(s)): tiles[0] for s, tiles in ranked if tiles}
    if together:
        attempt("all tuned tiles together", together)
    for state, tiles in ranked:
        name = workload(_spec(state))
        if name in chosen:
            attempt(f"{state.operator.name}: default", {k: v for k, v in chosen.items() if k != name})
        for tile in tiles:
            if chosen.get(name) != tile:
                attempt(f"{state.operator.name}: {tile}", {**chosen, name: tile})
    _save_choice(session, chosen, best)
    return NetworkOutcome(default, best, chosen)


def _spec(state: OperatorState) -> Spec:
    return cast(Operator, state.operator).spec


def _saving(state: OperatorState) -> float:
    found = state.outcome
    return state.operator.uses * (found.default_cost - found.best_cost) if found.best is not None else 0.0


def _best_tiles(cfg: Config, session: Session, state: OperatorState) -> list[AnyTile]:
    """The operator's best tiles that beat its default alone."""
    task = state.outcome.task
    found = [r for r in session.database.query(*task.key) if r.cost is not None and r.cost < state.outcome.default_cost]
    found.sort(key=lambda r: (r.cost, r.time))
    return [tile_of(task.space.find(r.knobs), cfg, _spec(state)) for r in found[:NETWORK_TRIES]]


def _saved_choice(cfg: Config, session: Session) -> dict[str, AnyTile] | None:
    """The tiles last chosen for these operators together, default ones absent; None when there was no such choice or
    something was measured since."""
    records: list[Record] = []
    for state in session.states:
        name, _, machine, kit = state.outcome.task.key
        found = session.database.query(name, NETWORK, machine, kit)
        if state.outcome.measured or not found:
            return None
        records.append(max(found, key=lambda r: r.time))
    if len({record.cost for record in records}) > 1:  # of different networks
        return None
    chosen: dict[str, AnyTile] = {}
    for state, record in zip(session.states, records, strict=True):
        point = state.space.find(record.knobs)
        if point.index != state.outcome.task.default:
            chosen[record.workload] = tile_of(point, cfg, _spec(state))
    return chosen


def _save_choice(session: Session, chosen: dict[str, AnyTile], cycles: int) -> None:
    """One record an operator: its tile in the network."""
    records = []
    for state in session.states:
        task = state.outcome.task
        name, _, machine, kit = task.key
        knobs = task.space.values(task.default)
        if name in chosen:
            knobs = knobs_of(chosen[name])
        records.append(Record(name, NETWORK, machine, kit, knobs, float(cycles), "cycles of the network"))
    session.database.append(records)


def process_measurer(cfg: Config, workers: int, timeout: float) -> ProcessMeasurer:
    """Simulators in processes of their own."""
    return ProcessMeasurer(CycleCost(cfg), workers, timeout, WORKER_BYTES)


def pool_measurer(cfg: Config, address: str, kind: str | None, keys: Security, timeout: float) -> PoolMeasurer:
    """Simulators on the devices of a pool, of the kind ``vdla-MACHINE`` when nothing else is said."""
    from compiler.tune.pool import PoolMeasurer

    kind = kind or f"vdla-{cfg.name}"
    return PoolMeasurer(CycleCost(cfg), address, kind, KIT_VERSION, keys, timeout=timeout, memory=WORKER_BYTES)
