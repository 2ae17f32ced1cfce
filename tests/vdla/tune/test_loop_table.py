"""Features written down from the knobs are those of the lowered program."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.lower import PassContext, lower
from compiler.tune.features import program_features
from hw.config import Config
from vdla.tune.loop_table import LoopFeatures, has_table
from vdla.tune.operators import parse_operator
from vdla.tune.templates import schedule, space_of

BASE = Config.load("pynq-z1")


@pytest.mark.parametrize("machine", [{}, {"block_out": 32}, {"block_in": 32, "batch": 2}], ids=str)
@pytest.mark.parametrize("name", ["C2", "C7", "C11", "dense:ic=500,oc=1024"])
def test_equal_to_the_lowered_programs(machine: dict[str, int], name: str) -> None:
    cfg = BASE.with_(**machine)
    spec = parse_operator(name, cfg).spec
    space = space_of(cfg, spec)
    points = space.sample(8, np.random.default_rng(len(machine)))
    rows = LoopFeatures(cfg, spec, space)(points)
    for point, row in zip(points, rows, strict=True):
        built, args = schedule(space.entity(point), cfg, spec)
        func = lower(built, args, context=PassContext(verify=False, until="make_loops"))
        assert np.allclose(row, program_features(func), atol=1e-5), space.values(point)


def test_other_forms_have_none() -> None:
    forms = ("C1", "depthwise:c=16,h=8,w=8,k=3", "conv2d:ic=16,h=8,w=8,oc=16,k=1,add=1", "add:c=16,h=8,w=8")
    assert not any(has_table(BASE, parse_operator(form, BASE).spec) for form in forms)
    wide, dense = BASE.with_(block_out=32), "dense:ic=512,oc=1000"
    assert has_table(BASE, parse_operator(dense, BASE).spec) and not has_table(wide, parse_operator(dense, wide).spec)
