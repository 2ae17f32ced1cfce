"""Index arithmetic of lowering: integer linear forms over loop variables whose extents are known.

An index expression becomes ``sum(coefficient * atom) + constant`` where an atom is a loop variable or a subterm that is
not linear (``x // 3``).  With the loops' extents at hand divisions and comparisons fold where they can be proved.
Everything is exact over the integers: index arithmetic never overflows int32 because every buffer fits in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from compiler.ir import (
    COMPARE_OPS,
    Binary,
    Cast,
    Expr,
    IntImm,
    Load,
    Not,
    Select,
    Var,
    binary,
    const,
    logical_not,
    select,
    walk_expr,
)


class Affine:
    """``sum(c * a for a, c in terms.items()) + const``; never changed after it is made; coefficients are not 0."""

    __slots__ = ("terms", "const")

    def __init__(self, terms: dict[Expr, int], const: int = 0) -> None:
        self.terms, self.const = terms, const

    def __add__(self, other: Affine) -> Affine:
        if not other.terms:
            return Affine(self.terms, self.const + other.const) if other.const else self
        terms = dict(self.terms)
        for a, c in other.terms.items():
            n = terms.get(a, 0) + c
            if n:
                terms[a] = n
            else:
                del terms[a]
        return Affine(terms, self.const + other.const)

    def __sub__(self, other: Affine) -> Affine:
        return self + other.scaled(-1)

    def scaled(self, k: int) -> Affine:
        if k == 1:
            return self
        if k == 0:
            return ZERO
        return Affine({a: c * k for a, c in self.terms.items()}, self.const * k)

    @property
    def is_const(self) -> bool:
        return not self.terms

    def same(self, other: Affine) -> bool:
        return self.const == other.const and self.terms == other.terms


ZERO = Affine({}, 0)


def _sole_atom(a: Affine) -> Expr | None:
    """The atom of a linear form that is nothing but one atom."""
    if len(a.terms) == 1 and a.const == 0:
        (atom, c), *_ = a.terms.items()
        return atom if c == 1 else None
    return None


Range = tuple[float, float]


class Indexer:
    """Turns index expressions into linear forms and back, knowing the extent of every loop variable.

    Attributes:
        extents: loop variable -> extent (the variable runs over ``0 <= v < extent``).
    """

    def __init__(self) -> None:
        self.extents: dict[Var, int] = {}
        self._order: dict[Var, int] = {}
        self._atom_range: dict[Expr, Range] = {}

    def declare(self, var: Var, extent: int) -> None:
        """Make ``var`` known as running over ``0 <= var < extent``."""
        self.extents[var] = extent
        self._order.setdefault(var, len(self._order))

    def var(self, v: Var) -> Affine:
        """The linear form of a loop variable (0 if its extent is 1)."""
        return ZERO if self.extents.get(v) == 1 else Affine({v: 1})

    # ------------------------------------------------------------------ expression -> linear form

    def affine(self, expr: Expr, env: Mapping[Var, Affine]) -> Affine:
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
        return self._atom(self.rewrite(expr, env, None))

    def _atom(self, expr: Expr) -> Affine:
        return Affine({}, expr.value) if isinstance(expr, IntImm) else Affine({expr: 1})

    def _min_max(self, op: str, a: Affine, b: Affine) -> Affine:
        lo, hi = self.range(a - b)
        if hi <= 0:
            return a if op == "min" else b
        if lo >= 0:
            return b if op == "min" else a
        return self._atom(binary(op, self.expr(a), self.expr(b)))

    def _split_multiple(self, a: Affine, n: int) -> tuple[Affine, Affine]:
        """``a == n * quotient + rest`` with ``rest`` holding only what is not divisible by ``n``."""
        quotient: dict[Expr, int] = {}
        rest: dict[Expr, int] = {}
        for atom, c in a.terms.items():
            if c % n == 0:
                quotient[atom] = c // n
            else:
                rest[atom] = c
        return Affine(quotient, a.const // n), Affine(rest, a.const % n)

    def floordiv(self, a: Affine, n: int) -> Affine:
        """``a // n`` for ``n`` > 0."""
        quotient, rest = self._split_multiple(a, n)
        lo, hi = self.range(rest)
        if lo != -inf and hi != inf and lo // n == hi // n:
            return quotient + Affine({}, int(lo // n))
        atom = _sole_atom(rest)
        if isinstance(atom, Binary) and atom.op == "floordiv" and isinstance(atom.b, IntImm) and atom.b.value > 0:
            return quotient + self.floordiv(self.affine(atom.a, {}), n * atom.b.value)  # (x // m) // n
        return quotient + self._atom(binary("floordiv", self.expr(rest), const(n, "int32")))

    def floormod(self, a: Affine, n: int) -> Affine:
        """``a % n`` for ``n`` > 0."""
        _, rest = self._split_multiple(a, n)
        lo, hi = self.range(rest)
        if lo != -inf and hi != inf and lo // n == hi // n:
            return rest + Affine({}, -n * int(lo // n))
        return self._atom(binary("floormod", self.expr(rest), const(n, "int32")))

    # ------------------------------------------------------------------ linear form -> expression

    def expr(self, a: Affine) -> Expr:
        """The expression of a linear form: variables in the order of declaration, then other atoms, constant last."""
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

    def range(self, a: Affine) -> Range:
        """Smallest and largest value (infinite where unknown)."""
        lo: float = a.const
        hi: float = a.const
        for atom, c in a.terms.items():
            alo, ahi = self.atom_range(atom)
            if c > 0:
                lo += c * alo
                hi += c * ahi
            else:
                lo += c * ahi
                hi += c * alo
        return lo, hi

    def atom_range(self, e: Expr) -> Range:
        """The range of an atom of a linear form."""
        if isinstance(e, Var):
            extent = self.extents.get(e)
            return (-inf, inf) if extent is None else (0, extent - 1)
        hit = self._atom_range.get(e)
        if hit is None:
            hit = self._range_of(e)
            self._atom_range[e] = hit
        return hit

    def _range_of(self, e: Expr) -> Range:
        if isinstance(e, Binary):
            if e.op in ("floordiv", "floormod") and isinstance(e.b, IntImm) and e.b.value > 0:
                n = e.b.value
                lo, hi = self.range(self.affine(e.a, {}))
                if e.op == "floordiv":
                    return (lo if lo == -inf else lo // n), (hi if hi == inf else hi // n)
                return (0, min(n - 1, hi)) if lo >= 0 else (0, n - 1)
            if e.op in ("min", "max"):
                alo, ahi = self.range(self.affine(e.a, {}))
                blo, bhi = self.range(self.affine(e.b, {}))
                pick = min if e.op == "min" else max
                return pick(alo, blo), pick(ahi, bhi)
            if e.op == "mul":
                alo, ahi = self.range(self.affine(e.a, {}))
                blo, bhi = self.range(self.affine(e.b, {}))
                if inf in (ahi, bhi) or -inf in (alo, blo):
                    return -inf, inf
                corners = (alo * blo, alo * bhi, ahi * blo, ahi * bhi)
                return min(corners), max(corners)
        if isinstance(e, Select):
            alo, ahi = self.range(self.affine(e.true_value, {}))
            blo, bhi = self.range(self.affine(e.false_value, {}))
            return min(alo, blo), max(ahi, bhi)
        if isinstance(e, Cast) and e.value.dtype in ("int8", "uint8", "bool"):
            return {"int8": (-128, 127), "uint8": (0, 255), "bool": (0, 1)}[e.value.dtype]
        return -inf, inf

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
        if isinstance(e, Binary):
            if e.op in ("floordiv", "floormod") and isinstance(e.b, IntImm) and e.b.value > 0:
                n = e.b.value
                inner = self.span(self.affine(e.a, {}), fixed)
                if inner is not None:
                    low, w = inner
                    _, rest = self._split_multiple(low, n)
                    if e.op == "floordiv":
                        steps = (rest.const + w) // n if rest.is_const else (w + n - 1) // n
                        return self.floordiv(low, n), steps
                    if rest.is_const and rest.const + w < n:
                        return rest, w
                if e.op == "floormod":
                    return ZERO, n - 1
            if e.op in ("min", "max"):
                a = self.span(self.affine(e.a, {}), fixed)
                b = self.span(self.affine(e.b, {}), fixed)
                if a is not None and b is not None:
                    return self._min_max(e.op, a[0], b[0]), max(a[1], b[1])
        lo, hi = self.atom_range(e)
        if lo == -inf or hi == inf:
            return None
        return Affine({}, int(lo)), int(hi - lo)

    # ------------------------------------------------------------------ whole expressions

    def compare(self, op: str, a: Affine, b: Affine) -> Expr:
        """``a op b``, folded to a constant where the ranges prove it; constants stand on the right."""
        diff = a - b
        lo, hi = self.range(diff)
        if op == "lt" and (hi < 0 or lo >= 0):
            return const(hi < 0, "bool")
        if op == "le" and (hi <= 0 or lo > 0):
            return const(hi <= 0, "bool")
        if op == "gt" and (lo > 0 or hi <= 0):
            return const(lo > 0, "bool")
        if op == "ge" and (lo >= 0 or hi < 0):
            return const(lo >= 0, "bool")
        if op in ("eq", "ne"):
            if lo == hi == 0:
                return const(op == "eq", "bool")
            if lo > 0 or hi < 0:
                return const(op == "ne", "bool")
        left = Affine(diff.terms)
        return binary(op, self.expr(left), IntImm(-diff.const))

    def rewrite(self, expr: Expr, env: Mapping[Var, Affine], on_load: object) -> Expr:
        """``expr`` with variables replaced by ``env``; index-like subterms in normal form, comparisons folded.

        ``on_load``: None or a function ``(load, env) -> Expr`` for loads.
        """
        memo: dict[Expr, Expr] = {}

        def go(e: Expr) -> Expr:
            hit = memo.get(e)
            if hit is not None:
                return hit
            if isinstance(e, Load) and on_load is not None:
                out = on_load(e, env)  # type: ignore[operator]
            elif isinstance(e, Load):
                out = Load(e.buffer, tuple(self.expr(self.affine(i, env)) for i in e.indices))
            elif isinstance(e, Var):
                out = self.expr(self.affine(e, env)) if e.dtype == "int32" else e
            elif isinstance(e, Binary):
                if e.op in COMPARE_OPS and is_index(e.a) and is_index(e.b):
                    out = self.compare(e.op, self.affine(e.a, env), self.affine(e.b, env))
                elif e.dtype == "int32" and is_index(e):
                    out = self.expr(self.affine(e, env))
                else:
                    out = binary(e.op, go(e.a), go(e.b))
            elif isinstance(e, Select):
                cond = go(e.cond)
                if isinstance(cond, IntImm):
                    out = go(e.true_value if cond.value else e.false_value)
                else:
                    out = select(cond, go(e.true_value), go(e.false_value))
            elif isinstance(e, Not):
                out = logical_not(go(e.a))
            elif e.children:
                out = e.with_children([go(c) for c in e.children])
            else:
                out = e
            memo[e] = out
            return out

        return go(expr)


_INDEX_OPS = frozenset({"add", "sub", "mul", "floordiv", "floormod", "min", "max"})


def is_index(e: Expr) -> bool:
    """True if ``e`` is int32 arithmetic on variables and constants only, at least one variable among them."""
    if e.dtype != "int32":
        return False
    stack = [e]
    while stack:
        n = stack.pop()
        if isinstance(n, Binary):
            if n.op not in _INDEX_OPS:
                return False
            stack.append(n.a)
            stack.append(n.b)
        elif not isinstance(n, (Var, IntImm)) or n.dtype != "int32":
            return False
    return True
