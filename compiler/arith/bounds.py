"""Interval analysis of integer expressions.

Integer arithmetic wraps around in its type: an ``add``, ``sub``, ``mul`` or ``shl`` is looked into only where its
interval proves that it does not; otherwise its bounds are those of the type and no rule touches it.

**The one assumption**: index arithmetic over variables of unknown range (``int32``/``int64``, no loads or calls in it)
does not overflow.  Where every variable has bounds nothing is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from compiler.ir import COMPARE_OPS, FLOAT_DTYPES, INT_RANGES, Binary, Call, Cast, Expr, IntImm, Load, Not, Select, Var

#: a closed interval; each end is an int, or -inf/inf where nothing is known
Interval = tuple[float, float]

INDEX_DTYPES = frozenset({"int32", "int64"})
EVERYTHING: Interval = (-inf, inf)


def floor_divide(x: float, c: int) -> float:
    """``x // c`` for a positive ``c``, infinities kept."""
    return x if x in (inf, -inf) else x // c


def product(a: Interval, b: Interval) -> Interval:
    """All ``x * y``."""
    corners = [0 if x == 0 or y == 0 else x * y for x in a for y in b]  # 0 * inf is 0: the factor is exactly 0
    return min(corners), max(corners)


def compare_intervals(op: str, a: Interval, b: Interval) -> Interval:
    """``(1, 1)`` if ``x op y`` for all x in a and y in b, ``(0, 0)`` if for none, else ``(0, 1)``."""
    if op in ("gt", "ge"):
        a, b, op = b, a, {"gt": "lt", "ge": "le"}[op]
    (al, ah), (bl, bh) = a, b
    if op == "lt":
        return (1, 1) if ah < bl else (0, 0) if al >= bh else (0, 1)
    if op == "le":
        return (1, 1) if ah <= bl else (0, 0) if al > bh else (0, 1)
    if ah < bl or bh < al:
        decided = op == "ne"
    elif al == ah == bl == bh:
        decided = op == "eq"
    else:
        return 0, 1
    return int(decided), int(decided)


class Bounds:
    """Bounds of expressions in one environment, memoised on the (interned) node.

    Args:
        env: inclusive ``(low, high)`` of variables; one not listed is unbounded if it is an ``int32``/``int64``.
    """

    __slots__ = ("env", "_memo", "_data", "_wraps")

    def __init__(self, env: Mapping[Var, tuple[int, int]] | None = None) -> None:
        self.env: dict[Expr, Interval] = dict((env or {}).items())
        self._memo: dict[Expr, Interval] = {}
        self._data: dict[Expr, bool] = {}
        self._wraps: set[Expr] = set()

    def of(self, expr: Expr) -> Interval:
        """The inclusive interval that holds every value of ``expr`` (bool: 0..1; floats: unknown)."""
        hit = self.env.get(expr) or self._memo.get(expr)
        if hit is None:
            hit = self._compute(expr)
            if not isinstance(expr, Var):  # a variable may be given bounds later
                self._memo[expr] = hit
        return hit

    def exact(self, expr: Expr) -> bool:
        """True if an integer ``add``, ``sub`` or ``mul`` provably (or by the assumption above) does not wrap."""
        self.of(expr)
        return expr not in self._wraps

    def is_data(self, expr: Expr) -> bool:
        """True if a loaded value or the result of a call takes part in ``expr``."""
        hit = self._data.get(expr)
        if hit is None:
            hit = isinstance(expr, (Load, Call)) or any(self.is_data(c) for c in expr.children)
            self._data[expr] = hit
        return hit

    def _fit(self, expr: Expr, lo: float, hi: float) -> Interval:
        least, most = INT_RANGES[expr.dtype]
        if least <= lo and hi <= most:
            return lo, hi
        if expr.dtype in INDEX_DTYPES and (lo == -inf or hi == inf) and not self.is_data(expr):
            return lo, hi
        self._wraps.add(expr)
        return least, most

    def _compute(self, e: Expr) -> Interval:
        if isinstance(e, IntImm):
            return e.value, e.value
        if isinstance(e, Var):
            return EVERYTHING if e.dtype in INDEX_DTYPES else INT_RANGES.get(e.dtype, EVERYTHING)
        if isinstance(e, Binary):
            return self._binary(e)
        if e.dtype in FLOAT_DTYPES or e.dtype == "handle":
            return EVERYTHING
        if isinstance(e, Not):
            lo, hi = self.of(e.a)
            return 1 - hi, 1 - lo
        if isinstance(e, Select):
            c = self.of(e.cond)
            if c[0] == c[1]:
                return self.of(e.true_value if c[0] else e.false_value)
            a, b = self.of(e.true_value), self.of(e.false_value)
            return min(a[0], b[0]), max(a[1], b[1])
        if isinstance(e, Cast):
            return self._cast(e)
        if isinstance(e, Call) and e.name == "abs":
            lo, hi = self.of(e.children[0])
            return self._fit(e, max(lo, -hi, 0), max(-lo, hi))
        return INT_RANGES[e.dtype]

    def _cast(self, e: Cast) -> Interval:
        least, most = INT_RANGES[e.dtype]
        if e.value.dtype in FLOAT_DTYPES:
            return least, most
        lo, hi = self.of(e.value)
        if e.dtype == "bool":
            return (1, 1) if lo > 0 or hi < 0 else (hi, lo) if lo == hi == 0 else (0, 1)
        if least <= lo and hi <= most:
            return lo, hi
        unbounded = lo == -inf or hi == inf
        return (lo, hi) if e.dtype in INDEX_DTYPES and unbounded and not self.is_data(e) else (least, most)

    def _binary(self, e: Binary) -> Interval:
        op = e.op
        if e.a.dtype in FLOAT_DTYPES:
            return (0, 1) if op in COMPARE_OPS else EVERYTHING
        (al, ah), (bl, bh) = self.of(e.a), self.of(e.b)
        if op == "add":
            return self._fit(e, al + bl, ah + bh)
        if op == "sub":
            return self._fit(e, al - bh, ah - bl)
        if op == "mul":
            return self._fit(e, *product((al, ah), (bl, bh)))
        if op == "floordiv":
            return self._floordiv(e, al, ah, bl, bh)
        if op == "floormod":
            return self._floormod(al, ah, bl, bh)
        if op == "min":
            return min(al, bl), min(ah, bh)
        if op == "max":
            return max(al, bl), max(ah, bh)
        if op == "and":
            return min(al, bl), min(ah, bh)
        if op == "or":
            return max(al, bl), max(ah, bh)
        if op in COMPARE_OPS:
            return compare_intervals(op, (al, ah), (bl, bh))
        return self._bits(e, al, ah, bl, bh)

    def _floordiv(self, e: Binary, al: float, ah: float, bl: float, bh: float) -> Interval:
        if bl == bh and bl > 0:
            return floor_divide(al, int(bl)), floor_divide(ah, int(bl))
        most = max(abs(al), abs(ah))  # |a // b| <= |a| for every b != 0; a division by 0 has no (or a zero) result
        lo = 0 if al >= 0 and bl >= 0 else -most
        return self._fit(e, lo, most)

    def _floormod(self, al: float, ah: float, bl: float, bh: float) -> Interval:
        if bl == bh and bl > 0:
            c = int(bl)
            if al != -inf and ah != inf and al // c == ah // c:
                return al % c, ah % c
            return 0, c - 1
        lo = 0 if bl >= 0 else bl + 1
        hi = 0 if bh <= 0 else bh - 1
        if al >= 0 and bl > 0:
            hi = min(hi, ah)
        return lo, hi

    def _bits(self, e: Binary, al: float, ah: float, bl: float, bh: float) -> Interval:
        everything = INT_RANGES[e.dtype]
        if e.op == "shr" and bl >= 0:
            if bl == bh and bl < 64 and al != -inf and ah != inf:
                return int(al) >> int(bl), int(ah) >> int(bl)
            return min(al, 0), max(ah, 0)
        if e.op == "shl" and bl == bh and 0 <= bl < 64:
            return self._fit(e, al * (1 << int(bl)), ah * (1 << int(bl)))
        if e.op == "bitand" and (al >= 0 or bl >= 0):
            return 0, min(ah if al >= 0 else inf, bh if bl >= 0 else inf)
        if e.op in ("bitor", "bitxor") and al >= 0 and bl >= 0 and max(ah, bh) != inf:
            return 0, (1 << int(max(ah, bh)).bit_length()) - 1
        return everything
