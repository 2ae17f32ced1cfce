"""Integer analysis of index expressions: linear forms, intervals, and the index arithmetic lowering stands on."""

from __future__ import annotations

from compiler.arith.affine import ZERO, Affine, linear_form
from compiler.arith.bounds import Bounds, Interval
from compiler.arith.indexer import Indexer, LoadRule, is_index

__all__ = ["ZERO", "Affine", "Bounds", "Indexer", "Interval", "LoadRule", "is_index", "linear_form"]
