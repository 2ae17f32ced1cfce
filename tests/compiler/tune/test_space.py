"""Schedule spaces: declaring, numbering, rules, walking; templates of real schedules."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

from compiler import te
from compiler.lower import lower
from compiler.tune import declaration as declaration_module
from compiler.tune import recorded as recorded_module
from compiler.tune import space as space_module
from compiler.tune.declaration import Template, annotate, declare
from compiler.tune.errors import DatabaseError, SpaceError
from compiler.tune.recorded import RecordedKnobs
from compiler.tune.space import ConfigSpace, Knobs, factorizations


def template(knobs: Knobs, n: int) -> tuple[int, ...]:
    tile = knobs.split("tile", n, 3)
    knobs.choice("unroll", (0, 1, 2, 4))
    knobs.annotation("inner", ("none", "vectorize"))
    knobs.choice("order", ("ij", "ji", "k"))
    knobs.require("small", lambda at: at["tile"][2] <= 8)
    knobs.require("vectors of 4", lambda at: at["inner"] == "none" or at["tile"][2] % 4 == 0)
    return tile


@pytest.fixture
def space() -> ConfigSpace:
    return declare(template, 24)


def test_doctest() -> None:
    for module in (space_module, declaration_module, recorded_module):
        failed, tried = doctest.testmod(module)
        assert tried and not failed


def test_factorizations() -> None:
    found = factorizations(12, 3)
    assert len(found) == len(set(found)) == 18
    assert all(a * b * c == 12 for a, b, c in found)


def test_numbers_and_points(space: ConfigSpace) -> None:
    assert space.size == len(factorizations(24, 3)) * 4 * 2 * 3
    for index in range(0, space.size, 7):
        assert space.number(space.digits(index)) == index
    matrix = space.digit_matrix(range(space.size))
    assert np.array_equal(matrix[37], space.digits(37))
    points = list(space)
    assert len({point.index for point in points}) == len(space) == len(points)
    for point in points[::11]:
        stored = {name: list(v) if isinstance(v, tuple) else v for name, v in point.values.items()}  # as JSON has it
        assert space.find(stored) == point


def test_rules_exclude_and_are_counted(space: ConfigSpace) -> None:
    removed = space.removed()
    assert len(space) + sum(removed.values()) == space.size
    assert all(removed.values())
    for point in space:
        inner = point.values["tile"][2]
        assert inner <= 8 and (point.values["inner"] == "none" or inner % 4 == 0)
    excluded = next(i for i in range(space.size) if i not in space)
    with pytest.raises(SpaceError, match="breaks the rule '(small|vectors of 4)'"):
        space.entity(excluded)


def test_walking_stays_in_the_space(space: ConfigSpace) -> None:
    rng = np.random.default_rng(1)
    drawn = space.sample(20, rng)
    assert len(set(drawn)) == 20 and all(i in space for i in drawn)
    assert sorted(space.sample(10**6, rng)) == space.valid_indices().tolist()
    for index in drawn:
        near = space.neighbours(index)
        assert near and all(n in space for n in near)
        for other in (*near, space.mutate(index, rng)):
            moved = sum(a != b for a, b in zip(space.digits(index), space.digits(other), strict=True))
            assert moved == 1
            assert other not in near or index in space.neighbours(other)


def test_a_space_too_large_to_list_is_drawn_from() -> None:
    def large(knobs: Knobs) -> None:
        for k in range(12):
            knobs.choice(f"k{k}", tuple(range(10)))
        knobs.require("even", lambda at: at["k0"] % 2 == 0)

    space = declare(large)
    drawn = space.sample(50, np.random.default_rng(0))
    assert len(drawn) == 50 and all(space.values(i)["k0"] % 2 == 0 for i in drawn)
    with pytest.raises(SpaceError, match="too large"):
        len(space)


def test_rules_make_a_large_space_listable() -> None:
    def large(knobs: Knobs) -> None:
        for k in range(12):
            knobs.choice(f"k{k}", tuple(range(10)))
            if k:
                knobs.require(f"k{k} is the one before, or 0", lambda at, k=k: at[f"k{k}"] in (0, at[f"k{k - 1}"]))

    space = declare(large)
    points = space.valid_indices().tolist()
    assert points == sorted(points) and len(points) == 1 + 9 * 12
    assert all(space.broken_rule(i) is None for i in points)
    assert len(space) + sum(space.removed().values()) == space.size


def test_alternatives() -> None:
    def template(knobs: Knobs) -> tuple[Any, ...]:
        algorithm = knobs.alternative("algorithm", ("direct", "fast"))
        tile = knobs.choice("tile", (4, 2, 1) if algorithm == "direct" else (8, 4))
        inner = knobs.alternative("inner", ("a", "b")) if algorithm == "fast" else None
        extra = knobs.choice("extra", (1, 2, 3)) if inner == "b" else None
        knobs.require(f"{algorithm}: no 4 with b", lambda at: (at["tile"], at["inner"]) != (4, "b"))
        return algorithm, tile, inner, extra

    space = declare(template)
    points = [template(space.entity(i)) for i in space.valid_indices().tolist()]
    expected = [("direct", t, None, None) for t in (4, 2, 1)] + [("fast", t, "a", None) for t in (8, 4)]
    expected += [("fast", 8, "b", e) for e in (1, 2, 3)]
    assert sorted(points, key=repr) == sorted(expected, key=repr)
    assert template(space.entity(0)) == ("direct", 4, None, None)  # all first values
    assert space.size - sum(space.removed().values()) == len(space) == 8
    for i in range(space.size):
        assert (i in space) == (i in space.valid_indices())


def test_a_template_schedules() -> None:
    def build(knobs: Knobs, n: int) -> tuple[te.Schedule, list[te.Tensor]]:
        a = te.placeholder((n,), "float32", "A")
        b = te.compute((n,), lambda i: a[i] + 1.0, "B")
        s = te.create_schedule(b)
        _, inner = knobs.split("i", n, 2)
        outer_loop, inner_loop = s[b].split(b.op.axis[0], factor=inner)
        annotate(s, b, outer_loop, knobs.annotation("outer", ("none", "parallel")))
        annotate(s, b, inner_loop, knobs.annotation("inner", ("none", "unroll", "vectorize")))
        knobs.require("vectors of at most 8", lambda at: at["inner"] != "vectorize" or at["i"][1] <= 8)
        return s, [a, b]

    template = Template("add one", build)
    space = template.space(16)
    texts = set()
    for point in space:
        schedule, args = template.instantiate(point, 16)
        lower(schedule, args)
        texts.add(schedule.trace())
    assert len(texts) == len(space) == 5 * 2 * 3 - 2


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        (lambda k: k.choice("a", ()), "knob 'a' has no values"),
        (lambda k: k.choice("a", (1, 1)), "knob 'a' has a value twice"),
        (lambda k: (k.choice("a", (1,)), k.choice("a", (2,))), "declared twice"),
        (lambda k: k.split("a", 0), "both must be at least 1"),
        (lambda k: k.annotation("a", ("fast",)), "no annotation fast; there are none, unroll"),
        (lambda k: None, "declares no knobs"),
    ],
)
def test_mistakes_in_a_declaration(declaration, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        declare(declaration)


def test_mistakes_with_points(space: ConfigSpace) -> None:
    point = next(iter(space))
    with pytest.raises(SpaceError, match="did not declare"):
        point.choice("other", (1,))
    with pytest.raises(SpaceError, match="knob 'tile' splits 24 in 3, not 25 in 3"):
        point.split("tile", 25, 3)
    with pytest.raises(SpaceError, match="the knobs are tile, unroll"):
        space.find({"tile": (1, 1, 24)})
    with pytest.raises(SpaceError, match="has no value 99"):
        space.find({**point.values, "unroll": 99})
    with pytest.raises(SpaceError, match="outside the space"):
        space.entity(space.size)


def test_recorded_decisions_are_held_against_what_a_template_offers() -> None:
    def asks(knobs: Knobs) -> tuple[Any, ...]:
        kind = knobs.alternative("kind", ("plain", "tiled"))
        tile = knobs.split("tile", 24) if kind == "tiled" else ()
        pair = knobs.choice("pair", ((1, 2), (2, 1)))
        how = knobs.annotation("how", ("none", "unroll"))
        knobs.require("small", lambda at: at["kind"] == "plain" or at["tile"][1] <= 4)
        return kind, tile, pair, how

    known = {"kind": "tiled", "tile": [6, 4], "pair": [2, 1], "how": "unroll"}
    space = declare(asks)
    recorded = RecordedKnobs(known, "t.jsonl: the record of x")
    assert asks(recorded) == asks(space.find(known)) == ("tiled", (6, 4), (2, 1), "unroll")
    assert recorded.values == space.find(known).values
    for changed, said in (
        ({"kind": "other"}, "knob 'kind' has no value 'other'"),
        ({"tile": [5, 4]}, r"knob 'tile' has no value \(5, 4\)"),
        ({"tile": [2, 3, 4]}, r"knob 'tile' has no value \(2, 3, 4\)"),
        ({"tile": "24"}, "knob 'tile' has no value '24'"),
        ({"pair": [2, 2]}, r"knob 'pair' has no value \(2, 2\)"),
        ({"how": "parallel"}, "knob 'how' has no value 'parallel'"),
        ({"tile": [3, 8]}, "it breaks the rule 'small'"),
    ):
        with pytest.raises(DatabaseError, match=f"^t.jsonl: the record of x is not legal: {said}"):
            asks(RecordedKnobs({**known, **changed}, "t.jsonl: the record of x"))
        with pytest.raises(SpaceError):
            space.find({**known, **changed})
    del known["how"]
    with pytest.raises(DatabaseError, match="it has no knob 'how'"):
        asks(RecordedKnobs(known, "t.jsonl: the record of x"))
