"""Reference interpreter: runs a :class:`PrimFunc` on numpy arrays, independently of every back end.

The function is translated once to plain Python source and executed; all loop kinds run serially.  It is the meaning of
the loop IR:

- integer arithmetic wraps around in its dtype; ``//`` and ``%`` round down; division by zero raises; a shift by an
  amount outside ``0 .. bits-1`` shifts everything out (``shr`` keeps the sign);
- ``float32`` arithmetic rounds after every operation; ``min(a, b)`` is ``a if a < b else b`` (``max``: ``>``);
- a float becomes an integer by truncation towards zero, saturating; NaN becomes 0;
- ``select``, ``and``, ``or`` evaluate only what they need; an access outside a buffer raises;
- what an :class:`Allocate` holds at its start is poison (NaN, or 0x55 bytes), to show what reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compiler.errors import InterpError
from compiler.ir.buffer import Buffer, Load
from compiler.ir.expr import Binary, Call, Cast, Expr, FloatImm, IntImm, Not, Select, Var
from compiler.ir.scalar_ops import HELPERS
from compiler.ir.stmt import Allocate, Attr, Evaluate, For, If, PrimFunc, Seq, Stmt, Store
from compiler.ir.types import BINARY_OPS, COMPARE_OPS, FLOAT_DTYPES, INT_BITS, INT_RANGES, LOGIC_OPS, wrap_int

#: a target intrinsic: called with numbers, strings and, for ``address_of``, ``(flat ndarray, element offset)``
Intrinsic = Callable[..., Any]

_SPILL_DEPTH = 25  # expressions nested deeper get a variable: Python's parser allows only so many brackets


class _Translator:
    """Writes the Python source of one function."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.indent = 1
        self.count = 0
        self.names: dict[Var, str] = {}
        self.ranges: dict[Var, tuple[int, int]] = {}
        self.buffers: dict[int, tuple[str, Buffer]] = {}
        self.intrinsics: set[str] = set()
        self.memo: dict[Expr, tuple[str, int, tuple[float, float]]] = {}
        self.uses: dict[Expr, int] = {}

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    # ------------------------------------------------------------------ expressions

    def root(self, *exprs: Expr) -> list[str]:
        """Code of the expressions of one statement (which share subexpressions)."""
        self.memo, self.uses = {}, {}
        stack = list(exprs)
        while stack:
            node = stack.pop()
            self.uses[node] = self.uses.get(node, 0) + 1
            if self.uses[node] == 1:
                stack.extend(node.children)
        return [self.expr(e)[0] for e in exprs]

    def expr(self, e: Expr) -> tuple[str, int, tuple[float, float]]:
        """``(code, nesting depth, interval)``; the interval spares wrap-around and bounds checks that cannot fire."""
        hit = self.memo.get(e)
        if hit is not None:
            return hit
        code, depth, interval = self.compute(e)
        if depth > _SPILL_DEPTH or (self.uses.get(e, 0) > 1 and depth > 0):
            code, depth = self.spill(code), 0
        out = self.memo[e] = code, depth, interval
        return out

    def lazily(self, e: Expr) -> tuple[list[str], str, int, tuple[float, float]]:
        """Code of ``e`` that must run only on one path: its own lines, and what it computes is not shared outside."""
        outer_lines, outer_memo = self.lines, self.memo
        self.lines, self.memo = [], dict(outer_memo)
        self.indent += 1
        code, depth, interval = self.expr(e)
        self.indent -= 1
        lines, self.lines, self.memo = self.lines, outer_lines, outer_memo
        return lines, code, depth, interval

    def branch(self, test: Expr, yes: Expr, no: Expr) -> tuple[str, int, tuple[float, float]]:
        cond, cond_depth, _ = self.expr(test)
        if cond_depth > 3:
            cond, cond_depth = self.spill(cond), 0
        a_lines, a, a_depth, a_range = self.lazily(yes)
        b_lines, b, b_depth, b_range = self.lazily(no)
        interval = min(a_range[0], b_range[0]), max(a_range[1], b_range[1])
        if not a_lines and not b_lines:
            return f"({a} if {cond} else {b})", max(a_depth, b_depth, cond_depth) + 1, interval
        name = self.fresh("t")
        self.line(f"if {cond}:")
        self.lines += [*a_lines, "    " * (self.indent + 1) + f"{name} = {a}"]
        self.line("else:")
        self.lines += [*b_lines, "    " * (self.indent + 1) + f"{name} = {b}"]
        return name, 0, interval

    def wrapped(
        self, code: str, dtype: str, depth: int, interval: tuple[float, float]
    ) -> tuple[str, int, tuple[float, float]]:
        low, high = INT_RANGES[dtype]
        if low <= interval[0] and interval[1] <= high:
            return f"({code})", depth, interval
        mask = (1 << INT_BITS[dtype]) - 1
        if low == 0:
            return f"(({code}) & {mask})", depth + 1, (low, high)
        return f"((({code}) + {-low} & {mask}) - {-low})", depth + 2, (low, high)

    def compute(self, e: Expr) -> tuple[str, int, tuple[float, float]]:
        if isinstance(e, IntImm):
            return (str(bool(e.value)) if e.dtype == "bool" else f"({e.value})"), 0, (e.value, e.value)
        if isinstance(e, FloatImm):
            return f"({e.value!r})", 0, (-math.inf, math.inf)
        if isinstance(e, Var):
            name = self.names.get(e)
            if name is None:
                raise InterpError(f"variable {e.name} has no value")
            return name, 0, self.ranges.get(e, _range(e.dtype))
        if isinstance(e, Binary):
            return self.binary(e)
        if isinstance(e, Not):
            code, depth, _ = self.expr(e.a)
            return f"(not {code})", depth + 1, (0, 1)
        if isinstance(e, Select):
            return self.branch(e.cond, e.true_value, e.false_value)
        if isinstance(e, Cast):
            return self.cast(e)
        if isinstance(e, Load):
            name, offset, depth = self.address(e.buffer, e.indices)
            return f"{name}[{offset}]", depth + 1, _range(e.dtype)
        if isinstance(e, Call):
            return self.call(e)
        raise InterpError(f"cannot interpret {type(e).__name__}")

    def binary(self, e: Binary) -> tuple[str, int, tuple[float, float]]:
        op, dtype = e.op, e.a.dtype
        if op in LOGIC_OPS:
            return self.branch(e.a, *((e.b, IntImm(0, "bool")) if op == "and" else (IntImm(1, "bool"), e.b)))
        a, da, (al, ah) = self.expr(e.a)
        b, db, (bl, bh) = self.expr(e.b)
        depth = max(da, db) + 1
        if op in COMPARE_OPS:
            return f"({a} {BINARY_OPS[op]} {b})", depth, (0, 1)
        if op in ("min", "max"):
            if da:
                a = self.spill(a)
            if db:
                b = self.spill(b)
            lo, hi = (min(al, bl), min(ah, bh)) if op == "min" else (max(al, bl), max(ah, bh))
            return f"({a} if {a} {'<' if op == 'min' else '>'} {b} else {b})", 1, (lo, hi)
        if dtype in FLOAT_DTYPES:
            if op in ("floordiv", "floormod"):
                code = f"m_floor({self.rounded(f'fdiv({a}, {b})', dtype)})"
                if op == "floormod":
                    a, b = self.spill(a), self.spill(b)
                    code = f"{a} - {self.rounded(f'{self.spill(code)} * {b}', dtype)}"
            else:
                code = f"fdiv({a}, {b})" if op == "div" else f"({a} {BINARY_OPS[op]} {b})"
            return self.rounded(code, dtype), depth + 3, (-math.inf, math.inf)
        symbol = BINARY_OPS[op]
        if op == "add":
            interval: tuple[float, float] = (al + bl, ah + bh)
        elif op == "sub":
            interval = (al - bh, ah - bl)
        elif op == "mul":
            corners = (al * bl, al * bh, ah * bl, ah * bh)
            interval = (min(corners), max(corners))
        elif op in ("floordiv", "floormod"):
            if not (bl > 0 or bh < 0):
                checked = "idiv" if op == "floordiv" else "imod"
                return self.wrapped(f"{checked}({a}, {b})", dtype, depth, (-math.inf, math.inf))
            if op == "floordiv":
                corners = (al // bl, al // bh, ah // bl, ah // bh)
                interval = (min(corners), max(corners))
            else:
                interval = (min(bl + 1, 0), max(bh - 1, 0))
        elif op in ("shl", "shr"):
            return self.wrapped(f"{op}({a}, {b}, {INT_BITS[dtype]})", dtype, depth, (-math.inf, math.inf))
        elif op in ("bitand", "bitor", "bitxor"):
            return f"({a} {symbol} {b})", depth, _range(dtype)
        else:
            raise InterpError(f"unknown operation {op!r}")
        return self.wrapped(f"{a} {symbol} {b}", dtype, depth, interval)

    def spill(self, code: str) -> str:
        name = self.fresh("t")
        self.line(f"{name} = {code}")
        return name

    def rounded(self, code: str, dtype: str) -> str:
        return f"f32({code})" if dtype == "float32" else f"({code})"

    def cast(self, e: Cast) -> tuple[str, int, tuple[float, float]]:
        code, depth, interval = self.expr(e.value)
        source = e.value.dtype
        if e.dtype == "bool":
            return f"({code} != 0)", depth + 1, (0, 1)
        if e.dtype in FLOAT_DTYPES:
            if source in FLOAT_DTYPES:
                return self.rounded(code, e.dtype), depth + 1, (-math.inf, math.inf)
            # int -> float32 in one rounding: numpy does it as C does
            convert = "np_f32" if e.dtype == "float32" and source == "int64" else "float"
            return self.rounded(f"{convert}({code})", e.dtype), depth + 2, (-math.inf, math.inf)
        low, high = INT_RANGES[e.dtype]
        if source in FLOAT_DTYPES:
            return f"to_int({code}, {low}, {high})", depth + 1, (low, high)
        if source == "bool":
            return f"int({code})", depth + 1, (0, 1)
        return self.wrapped(code, e.dtype, depth, interval)

    def call(self, e: Call) -> tuple[str, int, tuple[float, float]]:
        if e.name == "address_of":
            load = e.children[0]
            if not isinstance(load, Load):
                raise InterpError("address_of takes a buffer element")
            name, offset, depth = self.address(load.buffer, load.indices)
            return f"({name}_a, {offset})", depth + 1, (0, 0)
        if "." in e.name:
            self.intrinsics.add(e.name)
            args = [repr(a) if isinstance(a, str) else self.expr(a)[0] for a in e.args]
            return f"intrinsics[{e.name!r}]({', '.join(args)})", 5, _range(e.dtype)
        parts = [self.expr(a) for a in e.children]
        depth = max(p[1] for p in parts) + 2
        args = ", ".join(p[0] for p in parts)
        if e.name == "rshift_rne":
            return self.wrapped(f"rshift_rne({args})", e.dtype, depth, (-math.inf, math.inf))
        if e.name == "fma":
            return self.rounded(f"fma{e.dtype[-2:]}({args})", e.dtype), depth, (-math.inf, math.inf)
        if f"m_{e.name}" not in HELPERS:
            raise InterpError(f"unknown function {e.name!r}")
        if e.dtype in FLOAT_DTYPES:
            return self.rounded(f"m_{e.name}({args})", e.dtype), depth, (-math.inf, math.inf)
        return self.wrapped(f"m_{e.name}({args})", e.dtype, depth, (-math.inf, math.inf))

    def address(self, buffer: Buffer, indices: Sequence[Expr]) -> tuple[str, str, int]:
        known = self.buffers.get(id(buffer))
        if known is None:
            raise InterpError(f"buffer {buffer.name} is neither a parameter nor allocated around its use")
        terms: list[str] = []
        deepest = 0
        for dim, (index, extent, stride) in enumerate(zip(indices, buffer.shape, buffer.dense_strides, strict=True)):
            code, depth, (low, high) = self.expr(index)
            if low < 0 or high >= extent:
                if depth:
                    code = self.spill(code)
                code = f"({code} if 0 <= {code} < {extent} else oob({buffer.name!r}, {dim}, {code}, {extent}))"
                depth = 1
            if stride != 1:
                code = f"{code} * {stride}"
            deepest = max(deepest, depth)
            terms.append(code)
        return known[0], " + ".join(terms) or "0", deepest + 1

    # ------------------------------------------------------------------ statements

    def stmt(self, s: Stmt) -> None:
        if isinstance(s, Seq):
            for child in s.stmts:
                self.stmt(child)
            if not s.stmts:
                self.line("pass")
        elif isinstance(s, For):
            name = self.names[s.var] = self.fresh("i")
            self.ranges[s.var] = (0, max(s.extent - 1, 0))
            self.line(f"for {name} in range({s.extent}):")
            self.block(s.body)
        elif isinstance(s, Store):
            self.root(*s.indices, s.value)
            value = self.expr(s.value)[0]
            name, offset, _ = self.address(s.buffer, s.indices)
            self.line(f"{name}[{offset}] = {value}")
        elif isinstance(s, If):
            self.line(f"if {self.root(s.cond)[0]}:")
            self.block(s.then)
            if s.otherwise is not None:
                self.line("else:")
                self.block(s.otherwise)
        elif isinstance(s, Allocate):
            name = self.fresh("b")
            self.buffers[id(s.buffer)] = name, s.buffer
            self.line(f"{name}_a = allocate({s.buffer.elements}, {s.buffer.dtype!r})")
            self.line(f"{name} = memoryview({name}_a)")
            self.stmt(s.body)
        elif isinstance(s, Attr):
            self.stmt(s.body)
        elif isinstance(s, Evaluate):
            self.line(self.root(s.value)[0])
        else:
            raise InterpError(f"cannot interpret {type(s).__name__}")

    def block(self, s: Stmt) -> None:
        self.indent += 1
        self.line("pass")
        self.stmt(s)
        self.indent -= 1


def _range(dtype: str) -> tuple[float, float]:
    return INT_RANGES.get(dtype, (-math.inf, math.inf))


# --------------------------------------------------------------------------------------------- entry points


def source_of(func: PrimFunc) -> tuple[str, frozenset[str]]:
    """The Python source that the interpreter runs for ``func``, and the target intrinsics it calls."""
    t = _Translator()
    for n, b in enumerate(func.params):
        t.buffers[id(b)] = f"p{n}", b
    for n in range(len(func.params)):
        t.line(f"p{n} = memoryview(p{n}_a)")
    t.stmt(func.body)
    head = f"def run(intrinsics, {', '.join(f'p{n}_a' for n in range(len(func.params)))}):"
    return "\n".join([head, *t.lines, "    return None"]), frozenset(t.intrinsics)


def compile_func(func: PrimFunc) -> Callable[..., None]:
    """``func`` as a Python callable ``f(*arrays, intrinsics=None)`` that writes into its arrays.

    Each array has the parameter's dtype and either its shape or, one-dimensional, as many elements as it spans.
    """
    source, needed = source_of(func)
    namespace: dict[str, Any] = dict(HELPERS)
    exec(compile(source, f"<{func.name}>", "exec"), namespace)
    body = namespace["run"]

    def run_arrays(*arrays: np.ndarray, intrinsics: Mapping[str, Intrinsic] | None = None) -> None:
        table = intrinsics or {}
        missing = sorted(needed - set(table))
        if missing:
            raise InterpError(f"{func.name} calls {', '.join(missing)}: no such intrinsic was given")
        if len(arrays) != len(func.params):
            raise InterpError(f"{func.name} takes {len(func.params)} arrays, got {len(arrays)}")
        flats = [_flat(func, b, a) for b, a in zip(func.params, arrays, strict=True)]
        try:
            body(table, *flats)
        except InterpError as error:
            raise InterpError(f"{func.name}: {error}") from None
        for b, a, flat in zip(func.params, arrays, flats, strict=True):
            if flat.base is not a and flat is not a:
                _write_back(b, a, flat)

    return run_arrays


def _flat(func: PrimFunc, buffer: Buffer, array: np.ndarray) -> np.ndarray:
    """The memory of a parameter: ``buffer.elements`` elements, the array's own memory where possible."""
    if array.dtype != np.dtype(buffer.dtype):
        raise InterpError(f"{func.name}: {buffer.name} is {buffer.dtype}, got an array of {array.dtype}")
    if array.ndim == 1 and array.size == buffer.elements:
        return array if array.flags.c_contiguous else array.copy()
    if array.shape != buffer.shape:
        raise InterpError(f"{func.name}: {buffer.name} has shape {list(buffer.shape)}, got {list(array.shape)}")
    if buffer.strides is None and array.flags.c_contiguous:
        return array.reshape(-1)
    flat = np.zeros(buffer.elements, array.dtype)
    _view(buffer, flat)[...] = array
    return flat


def _view(buffer: Buffer, flat: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.as_strided(flat, buffer.shape, [s * flat.itemsize for s in buffer.dense_strides])


def _write_back(buffer: Buffer, array: np.ndarray, flat: np.ndarray) -> None:
    if np.shares_memory(array, flat):
        return
    array[...] = flat if array.ndim == 1 and array.size == buffer.elements else _view(buffer, flat)


def run(func: PrimFunc, arrays: Sequence[np.ndarray], intrinsics: Mapping[str, Intrinsic] | None = None) -> None:
    """Run ``func`` once on ``arrays`` (written in place).

    Raises:
        InterpError: an access outside a buffer, a division by zero, arrays that do not fit, a missing intrinsic.
    """
    compile_func(func)(*arrays, intrinsics=intrinsics)


def compile_expr(expr: Expr, variables: Sequence[Var]) -> Callable[..., int | float | bool]:
    """One expression (without loads) as a function of the values of its variables, which are in their types' ranges."""
    t = _Translator()
    for var in variables:
        t.names[var] = t.fresh("v")
    code = t.root(expr)[0]
    source = "\n".join([f"def run({', '.join(t.names[v] for v in variables)}):", *t.lines, f"    return {code}"])
    namespace: dict[str, Any] = dict(HELPERS)
    exec(compile(source, "<expression>", "exec"), namespace)
    return namespace["run"]


def evaluate(expr: Expr, env: Mapping[Var, int | float] | None = None) -> int | float | bool:
    """The value of one expression (without loads) for variables with the given values."""
    values = dict(env or {})
    wrapped = [wrap_int(int(x), v.dtype) if v.dtype not in FLOAT_DTYPES else x for v, x in values.items()]
    return compile_expr(expr, list(values))(*wrapped)
