"""Integer analysis of index expressions: intervals, linear forms, simplification, regions."""

from __future__ import annotations

from compiler.arith.bounds import Bounds, Interval, const_bounds
from compiler.arith.linear import Linear, build, linear_form
from compiler.arith.region import Region, region
from compiler.arith.simplify import Simplifier

__all__ = [
    "Bounds", "Interval", "Linear", "Region", "Simplifier", "build", "const_bounds", "linear_form", "region",
]  # fmt: skip
