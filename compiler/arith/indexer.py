"""Index arithmetic: integer linear forms over loop variables whose extents are known.  Lowering stands on it.

An index expression becomes ``sum(coefficient * atom) + constant`` where an atom is a loop variable or a subterm that is
not linear (``x // 3``).  Everything is exact over the integers: index arithmetic never overflows int32 because every
buffer fits in memory.  Arithmetic on data may wrap around and is never rearranged.

Rules (``c``, ``d``, ``n``: positive constants; divisions round down):

- constants fold; sums merge; multiplication by a constant distributes over a sum;
- ``(a*n + b) // n -> a + b//n``, ``(a*n + b) % n -> b % n``;
- ``b // n -> m`` and ``b % n -> b - m*n`` if the interval of ``b`` lies in ``[m*n, m*n + n - 1]``;
- ``(g*a + b) // n -> (a + m) // (n/g)`` and ``(g*a + b) % n -> g*((a + m) % (n/g)) + (b - m*g)`` if ``g`` divides ``n``
  and the interval of ``b`` lies in ``[m*g, m*g + g - 1]``;
- ``(x//d + c) // n -> (x + c*d) // (d*n)``;
- ``(x%d) // n -> (x//n) % (d/n)`` and ``(c*(x%d) + b) % n -> (c*x + b) % n`` if ``n`` divides ``d``;
- ``c*(x%n) + c*n*(x//n) -> c*x``; ``c*x - c*n*(x//n) -> c*(x%n)``;
- comparisons, ``min`` and ``max`` are decided by the interval of the difference of their sides; in comparisons that
  stay constants stand on the right;
- a ``select`` whose condition is decided becomes that side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd, inf

from compiler.arith.affine import ZERO, Affine
from compiler.arith.bounds import Bounds, Interval, compare_intervals
from compiler.ir import (
    COMPARE_OPS,
    Binary,
    Expr,
    IntImm,
    Load,
    Not,
    Select,
    Stmt,
    Var,
    binary,
    const,
    logical_not,
    loops_of,
    select,
    walk_expr,
)

#: what a read becomes: ``(load, values of the variables) -> expression``
LoadRule = Callable[[Load, Mapping[Var, Affine]], Expr]

_NO_ENV: Mapping[Var, Affine] = {}
_DIVISIONS = ("floordiv", "floormod")
_INDEX_OPS = frozenset({"add", "sub", "mul", *_DIVISIONS, "min", "max"})


def _sole_atom(a: Affine) -> Expr | None:
    """The atom of a linear form that is nothing but one atom."""
    if len(a.terms) == 1 and a.const == 0:
        (atom, c), *_ = a.terms.items()
        return atom if c == 1 else None
    return None


def _split_multiple(a: Affine, n: int) -> tuple[Affine, Affine]:
    """``a == n * quotient + rest`` with ``rest`` holding only what is not divisible by ``n``."""
    quotient: dict[Expr, int] = {}
    rest: dict[Expr, int] = {}
    for atom, c in a.terms.items():
        if c % n == 0:
            quotient[atom] = c // n
        else:
            rest[atom] = c
    return Affine(quotient, a.const // n), Affine(rest, a.const % n)


def _division(atom: Expr | None) -> tuple[Binary | None, int]:
    """An atom that is a division by a positive constant, and that constant."""
    if isinstance(atom, Binary) and atom.op in _DIVISIONS and isinstance(atom.b, IntImm) and atom.b.value > 0:
        return atom, atom.b.value
    return None, 1


class Indexer:
    """Turns index expressions into linear forms and back, knowing the extent of every loop variable.

    Attributes:
        extents: loop variable -> extent (the variable runs over ``0 <= v < extent``).
    """

    def __init__(self) -> None:
        self.extents: dict[Var, int] = {}
        self._order: dict[Var, int] = {}
        self._bounds = Bounds()
        #: what loads inside indices become; None: they keep their buffer
        self.index_loads: LoadRule | None = None

    def declare(self, var: Var, extent: int) -> None:
        """Make ``var`` known as running over ``0 <= var < extent``."""
        self.extents[var] = extent
        self._bounds.env[var] = (0, extent - 1)
        self._order.setdefault(var, len(self._order))

    @classmethod
    def of_loops(cls, stmt: Stmt) -> Indexer:
        """One that knows every loop in ``stmt``."""
        out = cls()
        for loop in loops_of(stmt):
            out.declare(loop.var, loop.extent)
        return out

    def var(self, v: Var) -> Affine:
        """The linear form of a loop variable (0 if its extent is 1)."""
        return ZERO if self.extents.get(v) == 1 else Affine({v: 1})

    # ------------------------------------------------------------------ expression -> linear form

    def affine(self, expr: Expr, env: Mapping[Var, Affine] = _NO_ENV) -> Affine:
        """``expr`` (int32) with variables replaced by ``env``, as a linear form."""
        if isinstance(expr, IntImm):
            return Affine({}, expr.value)
        if isinstance(expr, Var):
            known = env.get(expr)
            return known if known is not None else self.var(expr)
        if isinstance(expr, Binary):
            op = expr.op
            if op == "add":
                return self.affine(expr.a, env) + self.affine(expr.b, env)
            if op == "sub":
                return self.affine(expr.a, env) - self.affine(expr.b, env)
            if op in ("mul", "floordiv", "floormod"):
                a, b = self.affine(expr.a, env), self.affine(expr.b, env)
                if op == "mul" and a.is_const:
                    a, b = b, a
                if b.is_const:
                    if op == "mul":
                        return a.scaled(b.const)
                    if b.const > 0:
                        return self.floordiv(a, b.const) if op == "floordiv" else self.floormod(a, b.const)
                return self._atom(binary(op, self.expr(a), self.expr(b)))
            if op in ("min", "max"):
                return self._min_max(op, self.affine(expr.a, env), self.affine(expr.b, env))
        out = self.rewrite(expr, env, self.index_loads)
        return self.affine(out) if is_index(out) else self._atom(out)  # a decided select may leave index arithmetic

    def _atom(self, expr: Expr) -> Affine:
        return Affine({}, expr.value) if isinstance(expr, IntImm) else Affine({expr: 1})

    def _min_max(self, op: str, a: Affine, b: Affine) -> Affine:
        lo, hi = self.range(self._merge(a - b))
        if hi <= 0:
            return a if op == "min" else b
        if lo >= 0:
            return b if op == "min" else a
        return self._atom(binary(op, self.expr(a), self.expr(b)))

    # ------------------------------------------------------------------ quotients and remainders

    def floordiv(self, a: Affine, n: int) -> Affine:
        """``a // n`` for ``n`` > 0."""
        return self._divide(a, n)[0]

    def floormod(self, a: Affine, n: int) -> Affine:
        """``a % n`` for ``n`` > 0."""
        return self._divide(a, n)[1]

    def _divide(self, a: Affine, n: int) -> tuple[Affine, Affine]:
        """``a // n`` and ``a % n``."""
        # a == n * quotient + rest throughout: only the rest decides
        quotient, rest = _split_multiple(a, n)
        m = self._same_quotient(rest, n)
        if m is not None:
            return quotient + Affine({}, m), rest + Affine({}, -m * n)
        for g in sorted({gcd(c, n) for c in rest.terms.values()} - {1}, reverse=True):
            low = Affine({atom: c for atom, c in rest.terms.items() if c % g}, rest.const)
            m = self._same_quotient(low, g)
            if m is not None:
                high = Affine({atom: c // g for atom, c in rest.terms.items() if c % g == 0}, m)
                q, r = self._divide(high, n // g)
                return quotient + q, r.scaled(g) + low + Affine({}, -m * g)
        merged = self._merge(rest)
        if merged is not rest:
            q, r = self._divide(merged, n)
        else:
            q, r = self._undecided(rest, n)
        return quotient + q, r

    def _same_quotient(self, a: Affine, n: int) -> int | None:
        """``a // n`` if it is one number whatever the variables are."""
        lo, hi = self.range(a)
        return int(lo // n) if lo != -inf and hi != inf and lo // n == hi // n else None

    def _undecided(self, a: Affine, n: int) -> tuple[Affine, Affine]:
        """Quotient and remainder of a form that no interval decides: atoms, nested divisions flattened."""
        quotient: Affine | None = None
        remainder: Affine | None = None
        atom, d = _division(_sole_atom(Affine(a.terms)))
        if atom is not None and atom.op == "floordiv":
            quotient = self.floordiv(self._inside(atom) + Affine({}, a.const * d), n * d)
        elif atom is not None and d % n == 0 and a.const == 0:
            inner, remainder = self._divide(self._inside(atom), n)
            quotient = self.floormod(inner, d // n)
        if remainder is None:
            flat = a
            for e, c in a.terms.items():
                atom, d = _division(e)
                if atom is not None and atom.op == "floormod" and d % n == 0:
                    flat = flat - Affine({e: c}) + self._inside(atom).scaled(c)
            if flat is not a:
                remainder = self.floormod(flat, n)
        divisor = IntImm(n)
        if quotient is None:
            quotient = self._atom(binary("floordiv", self.expr(a), divisor))
        if remainder is None:
            remainder = self._atom(binary("floormod", self.expr(a), divisor))
        return quotient, remainder

    def _inside(self, division: Binary) -> Affine:
        """The linear form of what an atom divides."""
        return self.affine(division.a)

    def _merge(self, a: Affine) -> Affine:
        """``a`` with quotients and remainders of one division put together where that leaves fewer divisions."""
        merged = True
        while merged:
            merged = False
            for e, c in a.terms.items():
                if not isinstance(e, Binary):  # nearly always a variable
                    continue
                atom, n = _division(e)
                if atom is None:
                    continue
                x = self._inside(atom)
                if atom.op == "floormod":  # c*(x % n) + c*n*(x // n) -> c*x
                    quotient = self.floordiv(x, n)
                    if quotient.terms and all(a.terms.get(q) == c * n * k for q, k in quotient.terms.items()):
                        a = a - Affine({e: c}) - quotient.scaled(c * n) + x.scaled(c)
                        merged = True
                elif c % n == 0 and x.terms and all(a.terms.get(t) == -c // n * k for t, k in x.terms.items()):
                    a = a - Affine({e: c}) - x.scaled(-c // n) + self.floormod(x, n).scaled(-c // n)
                    merged = True  # c*x - c*n*(x // n) -> c*(x % n)
                if merged:
                    break
        return a

    # ------------------------------------------------------------------ linear form -> expression

    def expr(self, a: Affine) -> Expr:
        """The expression of a linear form: variables in the order of declaration, then other atoms, constant last."""
        if len(a.terms) > 1:
            a = self._merge(a)
        if not a.terms:
            return IntImm(a.const)
        order = self._order
        out: Expr | None = None
        rest = a.const
        items = list(a.terms.items())
        if len(items) > 1:
            items.sort(key=lambda item: order.get(item[0], 1 << 30))  # type: ignore[arg-type]
        for atom, c in items:
            if out is None and c < 0 and rest:
                out, rest = binary("sub", IntImm(rest), binary("mul", atom, IntImm(-c))), 0
            elif out is None:
                out = binary("mul", atom, IntImm(c))
            elif c < 0:
                out = binary("sub", out, binary("mul", atom, IntImm(-c)))
            else:
                out = binary("add", out, binary("mul", atom, IntImm(c)))
        assert out is not None
        return binary("add", out, IntImm(rest))

    # ------------------------------------------------------------------ ranges

    def range(self, a: Affine) -> Interval:
        """Smallest and largest value (infinite where unknown)."""
        lo: float = a.const
        hi: float = a.const
        of = self._bounds.of
        for atom, c in a.terms.items():
            alo, ahi = of(atom)
            if c > 0:
                lo += c * alo
                hi += c * ahi
            else:
                lo += c * ahi
                hi += c * alo
        return lo, hi

    def span(self, a: Affine, fixed: set[Var]) -> tuple[Affine, int] | None:
        """The values of ``a`` when every variable outside ``fixed`` runs over its loop.

        ``(lowest, n)``: all values lie in ``lowest ... lowest + n``, and ``lowest`` is over fixed variables only; None
        if no constant ``n`` is known."""
        low = Affine({}, a.const)
        width = 0
        for atom, c in a.terms.items():
            if isinstance(atom, Var) and atom not in fixed:
                extent = self.extents.get(atom)
                if extent is None:
                    return None
                part: tuple[Affine, int] | None = ZERO, extent - 1
            elif isinstance(atom, Var) or all(not isinstance(n, Var) or n in fixed for n in walk_expr(atom)):
                part = Affine({atom: 1}), 0
            else:
                part = self._span_atom(atom, fixed)
                if part is None:
                    return None
            lo, w = part
            low = low + lo.scaled(c)
            if c < 0:
                low = low + Affine({}, c * w)
            width += abs(c) * w
        return low, width

    def _span_atom(self, e: Expr, fixed: set[Var]) -> tuple[Affine, int] | None:
        atom, n = _division(e)
        if atom is not None:
            inner = self.span(self._inside(atom), fixed)
            if inner is not None:
                low, w = inner
                _, rest = _split_multiple(low, n)
                if atom.op == "floordiv":
                    steps = (rest.const + w) // n if rest.is_const else (w + n - 1) // n
                    return self.floordiv(low, n), steps
                if rest.is_const and rest.const + w < n:
                    return rest, w
            if atom.op == "floormod":
                return ZERO, n - 1
        if isinstance(e, Binary) and e.op in ("min", "max"):
            a = self.span(self.affine(e.a), fixed)
            b = self.span(self.affine(e.b), fixed)
            if a is not None and b is not None:
                # min (max) of two that move no further than this, once both start at the min (max) of the starts
                return self._min_max(e.op, a[0], b[0]), max(a[1], b[1])
        lo, hi = self._bounds.of(e)
        if lo == -inf or hi == inf:
            return None
        return Affine({}, int(lo)), int(hi - lo)

    # ------------------------------------------------------------------ whole expressions

    def compare(self, op: str, a: Affine, b: Affine) -> Expr:
        """``a op b``, folded to a constant where the ranges prove it; constants stand on the right."""
        diff = self._merge(a - b)
        least, most = compare_intervals(op, self.range(diff), (0, 0))
        if least == most:
            return const(int(least), "bool")
        left = Affine(diff.terms)
        return binary(op, self.expr(left), IntImm(-diff.const))

    def rewrite(self, expr: Expr, env: Mapping[Var, Affine] = _NO_ENV, on_load: LoadRule | None = None) -> Expr:
        """``expr`` with variables replaced by ``env``; index-like subterms in normal form, comparisons folded.

        ``on_load``: what loads become; None: they keep their buffer.
        """
        memo: dict[Expr, Expr] = {}

        def index_arithmetic(e: Expr, env: Mapping[Var, Affine]) -> Expr | None:
            if is_index(e):
                return self.expr(self.affine(e, env))
            if isinstance(e, Binary) and e.op in COMPARE_OPS and is_index(e.a) and is_index(e.b):
                return self.compare(e.op, self.affine(e.a, env), self.affine(e.b, env))
            return None

        def go(e: Expr) -> Expr:
            out = memo.get(e)
            if out is None:
                out = index_arithmetic(e, env)
                if out is None:
                    out = rebuilt(e)
                memo[e] = out
            return out

        def rebuilt(e: Expr) -> Expr:
            if isinstance(e, Load):
                if on_load is not None:
                    return on_load(e, env)
                return Load(e.buffer, tuple(self.expr(self.affine(i, env)) for i in e.indices))
            if isinstance(e, Binary):
                out = binary(e.op, go(e.a), go(e.b))
                again = None if out is e else index_arithmetic(out, _NO_ENV)  # left by a decided select
                return out if again is None else again
            if isinstance(e, Select):
                cond = go(e.cond)
                if isinstance(cond, IntImm):
                    return go(e.true_value if cond.value else e.false_value)
                return select(cond, go(e.true_value), go(e.false_value))
            if isinstance(e, Not):
                return logical_not(go(e.a))
            return e.with_children([go(c) for c in e.children]) if e.children else e

        return go(expr)


def is_index(e: Expr) -> bool:
    """True if ``e`` is int32 arithmetic on variables and constants only."""
    if not isinstance(e, Binary):
        return isinstance(e, (Var, IntImm)) and e.dtype == "int32"
    if e.dtype != "int32" or e.op not in _INDEX_OPS:
        return False
    return is_index(e.a) and is_index(e.b)
