"""VDLA's templates: the space holds what the compiler chooses from, and every point of it is a legal program."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.tune.space import ConfigEntity
from hw.config import Config
from vdla.errors import UsageError
from vdla.target.ops import add, conv2d, pool
from vdla.tune.estimate import EstimateFeatures, estimates
from vdla.tune.operators import is_operator, parse_operator
from vdla.tune.simulate import CycleCost
from vdla.tune.templates import LONGEST, default_point, knobs_of, schedule, space_of, tile_of, workload

TINY = Config(
    block_in=4, block_out=8, inp_buffer=1024, wgt_buffer=2048, acc_buffer=2048, out_buffer=512, aux_buffer=2048
)
BASE = Config.load("pynq-z1")

OPERATORS = {
    "conv2d": "conv2d:ic=16,h=7,w=6,oc=16,k=3,stride=1,pad=1",
    "conv2d, stride 2, added": "conv2d:ic=8,h=9,w=9,oc=24,k=3,stride=2,pad=1,add=1",
    "image": "conv2d:ic=2,h=10,w=8,oc=16,k=3,stride=2,pad=1",
    "depthwise": "depthwise:c=16,h=8,w=8,k=3,pad=1",
    "dense": "dense:ic=40,oc=24",
    "max pooling": "max_pool2d:c=16,h=8,w=8,k=3,stride=2,pad=1",
    "average pooling": "avg_pool2d:c=16,h=4,w=4,k=4",
    "add": "add:c=16,h=6,w=6",
}


@pytest.mark.parametrize("name", OPERATORS)
def test_points_are_legal_programs(name: str) -> None:
    spec = parse_operator(OPERATORS[name], TINY).spec
    space = space_of(TINY, spec)
    default = default_point(TINY, spec, space)
    measure = CycleCost(TINY)
    drawn = {default.index, *space.sample(6, np.random.default_rng(len(name)))}
    costs = {point: measure((spec, tile_of(ConfigEntity(space, point), TINY, spec))).cost for point in drawn}
    assert all(cost > 0 for cost in costs.values())
    trace = measure((spec, tile_of(default, TINY, spec))).trace
    assert trace.startswith(f"# {workload(spec)}\n") and ".compute_at(" in trace
    built, args = schedule(default, TINY, spec)
    assert built.trace() in trace and args[-1] in built.outputs


@pytest.mark.parametrize("name", ["C2", "C7", "C12", "C1", "dense:ic=512,oc=1000"])
def test_the_space_holds_what_the_estimate_chooses_from(name: str) -> None:
    spec = parse_operator(name, BASE).spec
    assert isinstance(spec, conv2d.ConvSpec)
    space = space_of(BASE, spec)
    long = [rule.name for rule in space.rules if rule.name.startswith(f"at most {LONGEST} times")]
    wanted, missing = 0, []
    for threads in (2, 4):
        for candidate in conv2d.candidates(BASE, spec, threads):
            index = space.number(
                [k.values.index(knobs_of(candidate.tile)[k.name]) for k in space.knobs]
            )  # fmt: skip
            wanted += 1
            if space.broken_rule(index) not in (None, *long):
                missing.append(candidate.tile)
    assert wanted and not missing
    known = {knobs_text(c.tile) for threads in (1, 2, 4) for c in conv2d.candidates(BASE, spec, threads)}
    assert all(knobs_text(tile_of(point, BASE, spec)) in known for point in space)


def knobs_text(tile: object) -> str:
    return str(tile)


def test_estimates_order_the_points() -> None:
    operator = parse_operator("C7", BASE)
    space = space_of(BASE, operator.spec)
    estimated = estimates(BASE, operator.spec, space)
    assert set(estimated) == set(space.valid_indices().tolist())
    assert min(estimated.values()) > operator.floor(BASE)
    rows = EstimateFeatures(space, estimated)(list(estimated)[:50])
    assert rows.shape[0] == 50 and np.isfinite(rows).all()
    assert estimates(BASE, parse_operator("add:c=16,h=6,w=6", BASE).spec, space) == {}


def test_workloads_hold_what_moves_the_time() -> None:
    texts = {workload(parse_operator(text, TINY).spec) for text in OPERATORS.values()}
    assert len(texts) == len(OPERATORS)
    plain, added = (parse_operator(f"conv2d:ic=8,h=8,w=8,oc=8,k=1{a}", TINY).spec for a in ("", ",add=1"))
    assert workload(plain) != workload(added)


def test_operators_by_name() -> None:
    c7 = parse_operator("C7", BASE)
    assert isinstance(c7.spec, conv2d.ConvSpec) and (c7.spec.oh, c7.spec.oc) == (14, 256)
    assert c7.floor(BASE) == c7.spec.macs / 256
    image = parse_operator("C1", BASE).spec
    assert isinstance(image, conv2d.ConvSpec) and image.patch and image.h == 230
    assert isinstance(parse_operator("add:c=16,h=6,w=6", BASE).spec, add.AddSpec)
    assert isinstance(parse_operator("max_pool2d:c=16,h=6,w=6,k=2,stride=2", BASE).spec, pool.PoolSpec)
    assert is_operator("C3") and is_operator("dense:ic=1") and not is_operator("resnet18")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv3d:k=3", "no operator 'conv3d'; there are conv2d"),
        ("dense:ic=4", "dense needs oc; for example"),
        ("dense:ic=4,oc=x", "'oc=x' is not a size of dense"),
        ("dense:ic=4,oc=4,k=3", "'k=3' is not a size of dense"),
        ("dense:ic=0,oc=4", "dense: ic must be at least 1"),
        ("conv2d:ic=8,h=2,w=2,oc=8,k=3", "the window is larger than the padded input"),
    ],
)
def test_mistakes_in_an_operator(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_operator(text, BASE)
