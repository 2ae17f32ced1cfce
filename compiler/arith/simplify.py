"""Simplification of integer and boolean expressions: few rules, each with its side condition.

Integer sums are kept in a *linear normal form* ``constant + sum(coefficient * atom)`` with the atoms in creation order;
atoms are variables, loads, calls, quotients and remainders in normal form, and everything no rule looks into.

Rules (``c``, ``d``: positive constants; divisions round down):

- constants fold; ``x + 0``, ``x * 1`` and the like vanish (in :func:`compiler.ir.binary`); an expression whose
  interval is one point becomes that constant;
- sums merge; multiplication by a constant distributes over a sum;
- ``(a*c + b) // c -> a + b//c``, ``(a*c + b) % c -> b % c``;
- ``b // c -> m`` and ``b % c -> b - m*c`` if the interval of ``b`` lies in ``[m*c, m*c + c - 1]``;
- ``(g*a + b) // c -> (a + m) // (c/g)`` and ``(g*a + b) % c -> g*((a + m) % (c/g)) + (b - m*g)`` if ``g`` divides ``c``
  and the interval of ``b`` lies in ``[m*g, m*g + g - 1]``;
- ``(x//d) // c -> x // (d*c)``; ``(x%d) // c -> (x//c) % (d/c)`` and ``(x%d) % c -> x % c`` if ``c`` divides ``d``;
- ``k*c*(x//c) + k*(x%c) -> k*x``; ``k*x - k*c*(x//c) -> k*(x%c)``;
- comparisons, ``min`` and ``max`` are decided by the interval of the difference of their sides; undecided comparisons
  of index expressions are brought to ``sum < constant`` / ``sum >= constant`` divided by the common factor;
- ``and``/``or`` of decided, repeated or opposite operands; ``not`` moves inwards; ``select`` with a decided or repeated
  condition.

Arithmetic that may wrap around in its type is left alone: see :mod:`compiler.arith.bounds`.  Floating-point arithmetic
is never rearranged.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd, inf

from compiler.arith.bounds import INDEX_DTYPES, Bounds, Interval, compare_intervals, floor_divide
from compiler.arith.linear import Linear, build, combine, scaled
from compiler.ir import (
    COMMUTATIVE_OPS,
    COMPARE_OPS,
    FLOAT_DTYPES,
    LOGIC_OPS,
    Binary,
    Cast,
    Expr,
    FloatImm,
    IntImm,
    Not,
    Select,
    Var,
    binary,
    cast,
    const,
    logical_not,
    select,
)

_OPPOSITE = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}
_DIVISIONS = ("floordiv", "floormod")


class Simplifier:
    """Simplifies expressions in one environment; answers are memoised on the node.

    Args:
        bounds: inclusive ``(low, high)`` of variables (a loop ``for i in range(n)`` gives ``(0, n - 1)``).
    """

    def __init__(self, bounds: Mapping[Var, tuple[int, int]] | None = None) -> None:
        self._bounds = Bounds(bounds)
        #: known intervals of sums: terms in creation order, coprime, the first coefficient positive
        self._facts: dict[tuple[tuple[Expr, int], ...], Interval] = {}
        self._memo: dict[Expr, Expr] = {}
        self._linear: dict[Expr, Linear] = {}
        self._splits: dict[tuple[Expr, int], tuple[Linear, Linear]] = {}

    # ------------------------------------------------------------------ public

    def bind(self, var: Var, low: int, high: int) -> None:
        """From now on ``low <= var <= high``."""
        if self._bounds.env.get(var) == (low, high):
            return
        stale = var in self._memo or self._bounds.seen(var)
        self._bounds.env[var] = (low, high)
        if stale:
            self._forget()

    def assume(self, cond: Expr) -> Simplifier:
        """A new simplifier that may also use that ``cond`` holds (the inside of an ``if``)."""
        out = Simplifier()
        out._bounds.env.update(self._bounds.env)
        out._facts.update(self._facts)
        out._learn(self.simplify(cond))
        return out

    def simplify(self, expr: Expr) -> Expr:
        """``expr`` in normal form: equal in value wherever ``expr`` is defined."""
        hit = self._memo.get(expr)
        if hit is None:
            hit = self._compute(expr)
            if hit.dtype not in FLOAT_DTYPES and hit.dtype != "handle" and not isinstance(hit, IntImm):
                lo, hi = self._bounds.of(hit)
                if lo == hi:
                    hit = const(int(lo), hit.dtype)
            self._memo[expr] = hit
            self._memo[hit] = hit
        return hit

    def bounds(self, expr: Expr) -> Interval:
        """Inclusive interval of an integer or boolean expression; an unknown end is ``-inf``/``inf``."""
        simple = self.simplify(expr)
        if self._facts and simple.dtype in INDEX_DTYPES:
            return self._range(self.linear(simple))
        return self._bounds.of(simple)

    def prove(self, cond: Expr) -> bool:
        """True if ``cond`` certainly holds for every value of its variables (False: unknown, or it does not)."""
        simple = self.simplify(cond)
        return isinstance(simple, IntImm) and bool(simple.value)

    def equal(self, a: Expr, b: Expr) -> bool:
        """True if ``a`` and ``b`` certainly have the same value."""
        if a.dtype != b.dtype:
            return False
        a, b = self.simplify(a), self.simplify(b)
        if a is b:
            return True
        if a.dtype in FLOAT_DTYPES or a.dtype in ("bool", "handle"):
            return False
        return self._cancel(combine(self.linear(a), self.linear(b), -1)) == (0, {})

    def linear(self, expr: Expr) -> Linear:
        """The linear normal form of an integer expression: its constant and ``atom -> coefficient``."""
        return self._lin(self.simplify(expr))

    # ------------------------------------------------------------------ environment

    def _forget(self) -> None:
        self._bounds.clear()
        self._memo.clear()
        self._linear.clear()
        self._splits.clear()

    def _learn(self, cond: Expr) -> None:
        if isinstance(cond, Binary) and cond.op == "and":
            self._learn(cond.a)
            self._learn(cond.b)
        elif isinstance(cond, Binary) and cond.op in ("lt", "le", "gt", "ge", "eq") and cond.a.dtype in INDEX_DTYPES:
            constant, terms = combine(self._lin(cond.a), self._lin(cond.b), -1)
            if not terms:
                return
            # constant + sum(terms) op 0
            low, high = {
                "lt": (-inf, -constant - 1), "le": (-inf, -constant), "gt": (-constant + 1, inf),
                "ge": (-constant, inf), "eq": (-constant, -constant),
            }[cond.op]  # fmt: skip
            key, factor = _key(terms)
            if factor < 0:
                low, high = -high, -low
            low = -floor_divide(-low, abs(factor))
            high = floor_divide(high, abs(factor))
            if len(key) == 1 and isinstance(key[0][0], Var):
                old = self._bounds.of(key[0][0])
                low, high = max(low, old[0]), min(high, old[1])
                if low <= high:  # otherwise the condition never holds; nothing need be known about that
                    self._bounds.env[key[0][0]] = (low, high)
            else:
                old = self._facts.get(key, (-inf, inf))
                self._facts[key] = max(low, old[0]), min(high, old[1])
            self._forget()

    def _range(self, form: Linear) -> Interval:
        """Interval of a linear form."""
        lo: float = 0
        hi: float = 0
        of = self._bounds.of
        for atom, k in form[1].items():
            low, high = of(atom)
            if k > 0:
                lo += k * low
                hi += k * high
            else:
                lo += k * high
                hi += k * low
        if self._facts and form[1]:
            key, factor = _key(form[1])
            fact = self._facts.get(key)
            if fact is not None:
                low, high = (factor * fact[0], factor * fact[1]) if factor > 0 else (factor * fact[1], factor * fact[0])
                if max(lo, low) <= min(hi, high):
                    lo, hi = max(lo, low), min(hi, high)
        return lo + form[0], hi + form[0]

    # ------------------------------------------------------------------ dispatch

    def _compute(self, e: Expr) -> Expr:
        if isinstance(e, Binary):
            return self._binary(e)
        if isinstance(e, (Var, IntImm, FloatImm)):
            return e
        if isinstance(e, Not):
            return self._negate(self.simplify(e.a))
        if isinstance(e, Select):
            return self._select(e)
        if isinstance(e, Cast):
            value = self.simplify(e.value)
            if isinstance(value, Cast) and value.dtype not in FLOAT_DTYPES and value.value.dtype not in FLOAT_DTYPES:
                lo, hi = self._bounds.of(value.value)
                if (lo, hi) == self._bounds.of(value) and value.dtype != "bool":  # the inner one changes no value
                    value = value.value
            return cast(e.dtype, value)
        children = e.children
        if not children:
            return e
        new = [self.simplify(c) for c in children]
        if all(n is c for n, c in zip(new, children, strict=True)):
            return e
        return e.with_children(new)

    def _binary(self, e: Binary) -> Expr:
        a, b = self.simplify(e.a), self.simplify(e.b)
        op = e.op
        if a.dtype in FLOAT_DTYPES:
            return binary(op, a, b)
        if op in ("add", "sub"):
            return self._sum(op, a, b)
        if op == "mul":
            return self._product(a, b)
        if op in _DIVISIONS:
            return self._division(op, a, b)
        if op in COMPARE_OPS:
            return self._compare(op, a, b)
        if op in LOGIC_OPS:
            return self._logic(op, a, b)
        if op in ("min", "max"):
            lo, hi = self._range(self._difference(a, b))
            if hi <= 0:
                return a if op == "min" else b
            if lo >= 0:
                return b if op == "min" else a
        if op in COMMUTATIVE_OPS and (isinstance(a, IntImm) or (b.serial < a.serial and not isinstance(b, IntImm))):
            a, b = b, a
        return binary(op, a, b)

    # ------------------------------------------------------------------ sums and products

    def _lin(self, e: Expr) -> Linear:
        """Linear form of an expression that is already in normal form."""
        if isinstance(e, IntImm):
            return e.value, {}
        hit = self._linear.get(e)
        if hit is None:
            hit = (0, {e: 1})
            if isinstance(e, Binary) and e.op in ("add", "sub", "mul") and self._bounds.exact(e):
                if e.op == "mul":
                    if isinstance(e.b, IntImm):
                        hit = scaled(self._lin(e.a), e.b.value)
                else:
                    hit = combine(self._lin(e.a), self._lin(e.b), 1 if e.op == "add" else -1)
            self._linear[e] = hit
        return hit

    def _difference(self, a: Expr, b: Expr) -> Linear:
        return self._cancel(combine(self._lin(a), self._lin(b), -1))

    def _normal(self, form: Linear, dtype: str) -> Expr:
        """The expression of a linear form, remembered as being in normal form."""
        out = build(form, dtype)
        if out not in self._memo:
            self._memo[out] = out
            if not isinstance(out, IntImm):
                self._linear[out] = form if self._bounds.exact(out) else (0, {out: 1})
        return out

    def _sum(self, op: str, a: Expr, b: Expr) -> Expr:
        out = binary(op, a, b)
        if not isinstance(out, Binary) or out.op not in ("add", "sub"):
            return out
        if not self._bounds.exact(out):
            return out
        return self._normal(self._cancel(combine(self._lin(a), self._lin(b), 1 if op == "add" else -1)), a.dtype)

    def _product(self, a: Expr, b: Expr) -> Expr:
        if isinstance(a, IntImm) or (b.serial < a.serial and not isinstance(b, IntImm)):
            a, b = b, a
        out = binary("mul", a, b)
        if isinstance(b, IntImm) and isinstance(out, Binary) and self._bounds.exact(out):
            return self._normal(scaled(self._lin(a), b.value), a.dtype)
        return out

    def _cancel(self, form: Linear) -> Linear:
        """``form`` with matching quotients and remainders merged."""
        if not any(isinstance(a, Binary) and a.op in _DIVISIONS for a in form[1]):
            return form
        changed = True
        while changed:  # each merge lowers the number of divisions, or turns a quotient into a remainder
            changed = False
            for atom, k in form[1].items():
                if not isinstance(atom, Binary) or atom.op not in _DIVISIONS or not isinstance(atom.b, IntImm):
                    continue
                merged = self._merge(form, atom, k, atom.b.value)
                if merged is not None:
                    form, changed = merged, True
                    break
        return form

    def _merge(self, form: Linear, atom: Binary, k: int, c: int) -> Linear | None:
        if c <= 0 or self._bounds.is_data(atom):
            return None
        terms, x = form[1], self._lin(atom.a)
        if atom.op == "floormod":
            # k*(x % c) and k*c*(x // c), the quotient in its own normal form -> k*x
            quotient, _ = self._split(atom.a, c)
            if not quotient[1] or any(terms.get(q) != k * c * n for q, n in quotient[1].items()):
                return None
            form = combine(form, (0, {atom: 1}), -k)
            form = combine(form, quotient, -k * c)
            return combine(form, x, k)
        # -k*c*(x // c) and k*x -> k*(x % c)
        if k % c:
            return None
        k = -k // c
        if not x[1] or any(terms.get(a) != k * n for a, n in x[1].items()):
            return None
        _, remainder = self._split(atom.a, c)
        form = combine(form, x, -k)
        form = combine(form, (0, {atom: 1}), k * c)
        return combine(form, remainder, k)

    # ------------------------------------------------------------------ quotients and remainders

    def _division(self, op: str, a: Expr, b: Expr) -> Expr:
        if not isinstance(b, IntImm) or b.value == 0:
            return binary(op, a, b)
        c = b.value
        if a.dtype not in INDEX_DTYPES or self._bounds.is_data(a):
            # parts of the sum might wrap where the sum does not: only the interval of the whole may decide
            lo, hi = self._range(self._lin(a))
            if c > 0 and lo // c == hi // c:
                m = int(lo // c)
                return IntImm(m, a.dtype) if op == "floordiv" else self._sum("sub", a, IntImm(m * c, a.dtype))
            return binary(op, a, b)
        if c < 0:
            # x // -c = (-x) // c, x % -c = -((-x) % c)
            quotient, remainder = self._split(self._normal(scaled(self._lin(a), -1), a.dtype), -c)
            return self._normal(self._cancel(quotient if op == "floordiv" else scaled(remainder, -1)), a.dtype)
        quotient, remainder = self._split(a, c)
        return self._normal(self._cancel(quotient if op == "floordiv" else remainder), a.dtype)

    def _split(self, x: Expr, c: int) -> tuple[Linear, Linear]:
        """Linear forms of ``x // c`` and ``x % c`` for a normal ``x`` and ``c`` > 0.

        Invariant of the loop: ``x = c0 * quotient + remainder + scale * rest``, with ``c * scale == c0`` and
        ``0 <= remainder < scale`` so that the parts of ``rest`` decide alone.
        """
        hit = self._splits.get((x, c))
        if hit is not None:
            return hit
        dtype, key = x.dtype, (x, c)
        constant, terms = self._lin(x)
        quotient: Linear = (0, {})
        remainder: Linear = (0, {})
        scale = 1
        while True:
            whole: dict[Expr, int] = {}
            rest: dict[Expr, int] = {}
            for atom, k in terms.items():
                t = k // c if k > 0 else -(-k // c)
                if t:
                    whole[atom] = t
                if k - t * c:
                    rest[atom] = k - t * c
            quotient = combine(quotient, (constant // c, whole))
            constant %= c
            lo, hi = self._range((constant, rest))
            m = floor_divide(lo, c)
            if m == floor_divide(hi, c) and m not in (inf, -inf):
                m = int(m)
                quotient = combine(quotient, (m, {}))
                remainder = combine(remainder, (constant - m * c, rest), scale)
                break
            step = self._common_factor(constant, rest, c)
            if step is None:
                q, r = self._division_atoms(constant, rest, c, dtype)
                quotient = combine(quotient, q)
                remainder = combine(remainder, r, scale)
                break
            g, m = step
            low = {a: k for a, k in rest.items() if k % g}
            remainder = combine(remainder, (constant - m * g, low), scale)
            constant, terms = m, {a: k // g for a, k in rest.items() if k % g == 0}
            scale *= g
            c //= g
        result = self._splits[key] = (quotient, remainder)
        return result

    def _common_factor(self, constant: int, terms: dict[Expr, int], c: int) -> tuple[int, int] | None:
        """``(g, m)``: ``g`` divides ``c`` and some coefficients; what remains stays in ``[m*g, m*g + g - 1]``."""
        factors = {gcd(k, c) for k in terms.values()}
        for g in sorted(factors, reverse=True):
            if g == 1:
                continue
            lo, hi = self._range((constant, {a: k for a, k in terms.items() if k % g}))
            m = floor_divide(lo, g)
            if m == floor_divide(hi, g) and m not in (inf, -inf):
                return g, int(m)
        return None

    def _division_atoms(self, constant: int, terms: dict[Expr, int], c: int, dtype: str) -> tuple[Linear, Linear]:
        """Quotient and remainder of a form that no interval decides, nested divisions flattened."""
        merged = self._cancel((constant, terms))
        if merged != (constant, terms):
            return self._split(self._normal(merged, dtype), c)
        inner = self._normal((constant, terms), dtype)
        divisor = IntImm(c, dtype)
        quotient: Linear | None = None
        remainder: Linear | None = None
        if len(terms) == 1:
            ((atom, k),) = terms.items()
            if k == 1 and isinstance(atom, Binary) and atom.op in _DIVISIONS and isinstance(atom.b, IntImm):
                d = atom.b.value
                if atom.op == "floordiv" and d > 0 and (constant == 0 or not self._bounds.is_data(atom)):
                    moved = combine(self._lin(atom.a), (constant * d, {}))
                    quotient, _ = self._split(self._normal(moved, dtype), d * c)
                elif atom.op == "floormod" and d > 0 and d % c == 0 and constant == 0:
                    q, remainder = self._split(atom.a, c)
                    quotient = self._split(self._normal(q, dtype), d // c)[1]
        if remainder is None:
            flat = (constant, terms)
            for atom, k in terms.items():
                if isinstance(atom, Binary) and atom.op == "floormod" and isinstance(atom.b, IntImm):
                    if atom.b.value > 0 and atom.b.value % c == 0 and not self._bounds.is_data(atom):
                        flat = combine(combine(flat, (0, {atom: 1}), -k), self._lin(atom.a), k)
            if flat[1] is not terms:
                remainder = self._split(self._normal(flat, dtype), c)[1]
        if quotient is None:
            quotient = (0, {self._known(binary("floordiv", inner, divisor)): 1})
        if remainder is None:
            remainder = (0, {self._known(binary("floormod", inner, divisor)): 1})
        return quotient, remainder

    def _known(self, atom: Expr) -> Expr:
        self._memo[atom] = atom
        return atom

    # ------------------------------------------------------------------ comparisons

    def _compare(self, op: str, a: Expr, b: Expr) -> Expr:
        if a.dtype == "bool" or a.dtype == "handle":
            return binary(op, a, b)
        form = self._difference(a, b)
        lo, hi = self._range(form)
        decided = compare_intervals(op, (lo, hi), (0, 0))
        if decided[0] == decided[1]:
            return const(int(decided[0]), "bool")
        if a.dtype not in INDEX_DTYPES or self._bounds.is_data(a) or self._bounds.is_data(b):
            return binary(op, a, b)  # moving terms across might wrap
        return self._comparison(op, form, a.dtype)

    def _comparison(self, op: str, form: Linear, dtype: str) -> Expr:
        """Normal form of ``form op 0``: ``sum < constant``, ``sum >= constant`` or ``sum == constant``."""
        constant, terms = form
        g = gcd(*terms.values())
        if op in ("eq", "ne"):
            if constant % g:
                return const(op == "ne", "bool")
            if all(k < 0 for k in terms.values()):
                g = -g
            constant //= g
        else:
            if op in ("gt", "ge"):
                g = -g
            strict = op in ("lt", "gt")
            # now sum(terms / g) < or <= bound
            bound = -constant // abs(g) if not strict else -(constant // abs(g))
            if g < 0:
                bound = constant // -g if not strict else -(-constant // -g)
            constant = -bound if strict else -bound - 1
            op = "lt"
        positive = {a: k // g for a, k in terms.items() if k // g > 0}
        negative = {a: -(k // g) for a, k in terms.items() if k // g < 0}
        if op == "lt" and not positive:
            # -s + constant < 0  <=>  s >= constant + 1
            return binary("ge", self._normal((0, negative), dtype), const(constant + 1, dtype))
        left = self._normal((0, positive), dtype)
        return binary(op, left, self._normal((-constant, negative), dtype))

    # ------------------------------------------------------------------ booleans

    def _logic(self, op: str, a: Expr, b: Expr) -> Expr:
        parts: list[Expr] = []
        for side in (a, b):
            for part in _operands(op, side):
                if part not in parts:
                    parts.append(part)
        for part in parts:
            if self._negate(part) in parts:
                return const(op == "or", "bool")
        out = parts[0]
        for part in parts[1:]:
            out = binary(op, out, part)
        return out

    def _negate(self, a: Expr) -> Expr:
        if isinstance(a, Binary):
            if a.op in LOGIC_OPS:
                return binary("or" if a.op == "and" else "and", self._negate(a.a), self._negate(a.b))
            if a.op in ("eq", "ne") or (a.op in COMPARE_OPS and a.a.dtype not in FLOAT_DTYPES):
                # an ordered comparison of floats has no opposite: both are false on NaN
                return self.simplify(binary(_OPPOSITE[a.op], a.a, a.b))
        return logical_not(a)

    def _select(self, e: Select) -> Expr:
        cond = self.simplify(e.cond)
        if isinstance(cond, IntImm):
            return self.simplify(e.true_value if cond.value else e.false_value)
        yes, no = self.simplify(e.true_value), self.simplify(e.false_value)
        if isinstance(cond, Not):
            cond, yes, no = cond.a, no, yes
        while isinstance(yes, Select) and yes.cond is cond:
            yes = yes.true_value
        while isinstance(no, Select) and no.cond is cond:
            no = no.false_value
        if isinstance(yes, IntImm) and isinstance(no, IntImm) and yes.dtype == "bool" and yes is not no:
            return cond if yes.value else self._negate(cond)
        return select(cond, yes, no)


def _operands(op: str, e: Expr) -> list[Expr]:
    if isinstance(e, Binary) and e.op == op:
        return _operands(op, e.a) + _operands(op, e.b)
    return [e]


def _key(terms: Mapping[Expr, int]) -> tuple[tuple[tuple[Expr, int], ...], int]:
    """Terms in creation order divided by their common factor, and that factor (sign: first coefficient positive)."""
    ordered = sorted(terms.items(), key=lambda t: t[0].serial)
    g = gcd(*terms.values())
    if ordered[0][1] < 0:
        g = -g
    return tuple((a, k // g) for a, k in ordered), g
