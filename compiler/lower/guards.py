"""Conditions under which an iteration computes: those that the extents of loops do not prove."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from compiler.arith import ZERO, Affine, Indexer, is_index
from compiler.ir import Binary, Expr, IntImm, Load, Select, Var
from compiler.lower.bounds import Bounds, StageBounds
from compiler.te.relations import Split
from compiler.te.tensor import Tensor


def guards(bounds: Bounds, info: StageBounds, values: Mapping[Var, Affine], reduce: bool) -> list[Expr]:
    """Conditions under which an iteration computes an element, without those the loops' extents prove.

    Two things need one: a split that does not divide its loop, and a region that sticks out of its tensor.  The second
    is left out of stages that keep their own buffer if nothing they read is out of bounds there: what they compute
    outside the tensor is never used, and tiles stay free of branches.
    ``reduce``: include the conditions on reduce loops.
    """
    indexer = bounds.indexer
    out: dict[Expr, None] = {}

    def need(cond: Expr) -> None:
        if not (isinstance(cond, IntImm) and cond.value):
            out.setdefault(cond)

    shape = info.stage.tensor.shape
    starts = dict(zip(info.op.axis, info.start, strict=True))
    for r in info.stage.relations:
        if not isinstance(r, Split) or (r.parent.kind == "reduce" and not reduce):
            continue
        if info.extents[r.outer] * info.extents[r.inner] > info.extents[r.parent]:
            local = values[r.parent]
            if r.parent in starts:
                local = local - starts[r.parent]
            need(indexer.compare("lt", local, Affine({}, info.extents[r.parent])))
    if not (info.stage.is_output or info.stage.shares_memory) and reads_in_bounds(bounds, info):
        return list(out)
    for d, a in enumerate(info.op.axis):
        need(indexer.compare("ge", values[a], ZERO))
        need(indexer.compare("lt", values[a], Affine({}, shape[d])))
    return list(out)


def reads_in_bounds(bounds: Bounds, info: StageBounds) -> bool:
    """True if every read of the stage is provably inside its buffer in every iteration of the loops.

    Conditions of a ``select`` around a read count: they bound the linear forms they compare.
    """
    if info.safe is None:
        info.safe = _safe(bounds, info, info.op.body, {})
    return info.safe


_Known = Mapping[frozenset[tuple[Expr, int]], tuple[float, float]]


def _safe(bounds: Bounds, info: StageBounds, expr: Expr, known: _Known) -> bool:
    indexer = bounds.indexer
    if isinstance(expr, Select):
        inside = {**known, **_bounds_from(indexer, expr.cond, info.values)}
        return (
            _safe(bounds, info, expr.cond, known)
            and _safe(bounds, info, expr.true_value, inside)
            and _safe(bounds, info, expr.false_value, known)
        )
    if isinstance(expr, Load) and isinstance(expr.buffer, Tensor):
        shape = bounds.buffers[expr.buffer].shape
        for index, start, n in zip(expr.indices, bounds.starts[expr.buffer], shape, strict=True):
            here = indexer.affine(index, info.values)
            low, high = indexer.range(here - start)
            if low >= 0 and high < n:
                continue
            limit = known.get(frozenset(here.terms.items()))
            if limit is None or not start.is_const:
                return False
            offset = here.const - start.const
            if max(low, limit[0] + offset) < 0 or min(high, limit[1] + offset) >= n:
                return False
        return True
    return all(_safe(bounds, info, child, known) for child in expr.children)


def _bounds_from(
    indexer: Indexer, cond: Expr, values: Mapping[Var, Affine]
) -> dict[frozenset[tuple[Expr, int]], tuple[float, float]]:
    """What a conjunction of comparisons says about linear forms without their constants."""
    if isinstance(cond, Binary) and cond.op == "and":
        left = _bounds_from(indexer, cond.a, values)
        for key, (low, high) in _bounds_from(indexer, cond.b, values).items():
            known = left.get(key, (-inf, inf))
            left[key] = (max(low, known[0]), min(high, known[1]))
        return left
    if not isinstance(cond, Binary) or cond.op not in ("lt", "le", "gt", "ge") or not is_index(cond.a):
        return {}
    diff = indexer.affine(cond.a, values) - indexer.affine(cond.b, values)
    bound = -diff.const
    low, high = {
        "lt": (-inf, bound - 1), "le": (-inf, bound), "gt": (bound + 1, inf), "ge": (bound, inf),
    }[cond.op]  # fmt: skip
    return {frozenset(diff.terms.items()): (low, high)}
