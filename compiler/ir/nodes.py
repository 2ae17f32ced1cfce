"""The loop IR: a small typed node set for expressions and statements.

Expressions are immutable, slotted and *interned*: two structurally equal expressions are the same object, so
equality is ``is``, hashing is by identity and every analysis can be memoised on the node.  Statements are
immutable but not interned.  Loops are normalised (they start at 0 and step by 1); all shapes and extents that
reach lowering are known integers.

Types (``dtype``) are strings: ``bool int8 int16 int32 int64 uint8 float32 float64`` and ``handle``.  Indices and loop
variables are ``int32``.  Both operands of a binary operation have the same dtype; a plain Python number takes the
dtype of the other operand.  Integer ``floordiv``/``floormod`` round towards minus infinity; integer arithmetic
wraps around in the width of its dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ctypes import c_float
from itertools import count
from typing import Any, Union
from weakref import WeakValueDictionary

from compiler.errors import IRTypeError

INT_DTYPES = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"})
FLOAT_DTYPES = frozenset({"float32", "float64"})
DTYPES = INT_DTYPES | FLOAT_DTYPES | {"bool", "handle"}
ITEM_BYTES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8,
    "float32": 4, "float64": 8, "handle": 8,
}  # fmt: skip

#: operation -> symbol used by the printer
BINARY_OPS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "floormod": "%", "min": "min", "max": "max",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "and": "and", "or": "or",
    "shl": "<<", "shr": ">>", "bitand": "&", "bitor": "|", "bitxor": "^",
}  # fmt: skip
COMPARE_OPS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
LOGIC_OPS = frozenset({"and", "or"})
COMMUTATIVE_OPS = frozenset({"add", "mul", "min", "max", "eq", "ne", "and", "or", "bitand", "bitor", "bitxor"})

Number = int | float | bool
ExprLike = Union["Expr", int, float, bool]

_interned: WeakValueDictionary[tuple[Any, ...], Expr] = WeakValueDictionary()
# the weak references themselves: a third of the time of WeakValueDictionary.get
_lookup = _interned.data.get  # pyright: ignore[reportAttributeAccessIssue]
_serials = count()


class Expr:
    """Base of all expressions.  Python's operators build IR (``//`` and ``%`` are floor division and modulo);
    ``==`` stays Python identity: use :func:`eq` for an IR comparison."""

    __slots__ = ("dtype", "serial", "__weakref__")
    dtype: str
    #: creation order: a deterministic total order of nodes, for canonical forms
    serial: int

    def __add__(self, other: ExprLike) -> Expr:
        return binary("add", self, other)

    def __radd__(self, other: ExprLike) -> Expr:
        return binary("add", other, self)

    def __sub__(self, other: ExprLike) -> Expr:
        return binary("sub", self, other)

    def __rsub__(self, other: ExprLike) -> Expr:
        return binary("sub", other, self)

    def __mul__(self, other: ExprLike) -> Expr:
        return binary("mul", self, other)

    def __rmul__(self, other: ExprLike) -> Expr:
        return binary("mul", other, self)

    def __truediv__(self, other: ExprLike) -> Expr:
        return binary("div", self, other)

    def __rtruediv__(self, other: ExprLike) -> Expr:
        return binary("div", other, self)

    def __floordiv__(self, other: ExprLike) -> Expr:
        return binary("floordiv", self, other)

    def __rfloordiv__(self, other: ExprLike) -> Expr:
        return binary("floordiv", other, self)

    def __mod__(self, other: ExprLike) -> Expr:
        return binary("floormod", self, other)

    def __rmod__(self, other: ExprLike) -> Expr:
        return binary("floormod", other, self)

    def __lshift__(self, other: ExprLike) -> Expr:
        return binary("shl", self, other)

    def __rshift__(self, other: ExprLike) -> Expr:
        return binary("shr", self, other)

    def __and__(self, other: ExprLike) -> Expr:
        return binary("bitand", self, other)

    def __or__(self, other: ExprLike) -> Expr:
        return binary("bitor", self, other)

    def __xor__(self, other: ExprLike) -> Expr:
        return binary("bitxor", self, other)

    def __neg__(self) -> Expr:
        return binary("sub", 0, self)

    def __lt__(self, other: ExprLike) -> Expr:
        return binary("lt", self, other)

    def __le__(self, other: ExprLike) -> Expr:
        return binary("le", self, other)

    def __gt__(self, other: ExprLike) -> Expr:
        return binary("gt", self, other)

    def __ge__(self, other: ExprLike) -> Expr:
        return binary("ge", self, other)

    def __bool__(self) -> bool:
        raise IRTypeError(
            f"an expression has no truth value while the program is being built: {self}; "
            "use select(cond, a, b), logical_and or logical_or"
        )

    def __repr__(self) -> str:
        from compiler.ir.printer import expr_text

        return expr_text(self)

    def astype(self, dtype: str) -> Expr:
        """This expression converted to ``dtype`` (value-preserving where it fits, wrapping/truncating as C does)."""
        return cast(dtype, self)

    @property
    def children(self) -> tuple[Expr, ...]:
        return ()

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return self


class IntImm(Expr):
    """An integer (or bool) constant, already wrapped into its dtype's range."""

    __slots__ = ("value",)
    value: int

    def __new__(cls, value: int, dtype: str = "int32") -> IntImm:
        value = wrap_int(int(value), dtype)
        key = (IntImm, value, dtype)
        ref = _lookup(key)
        node = None if ref is None else ref()
        if node is None:
            node = object.__new__(cls)
            node.serial = next(_serials)
            node.value, node.dtype = value, dtype
            _interned[key] = node
        return node  # type: ignore[return-value]


class FloatImm(Expr):
    """A floating-point constant, already rounded to its dtype."""

    __slots__ = ("value",)
    value: float

    def __new__(cls, value: float, dtype: str = "float32") -> FloatImm:
        value = c_float(value).value if dtype == "float32" else float(value)
        key = (FloatImm, value.hex(), dtype)
        ref = _lookup(key)
        node = None if ref is None else ref()
        if node is None:
            node = object.__new__(cls)
            node.serial = next(_serials)
            node.value, node.dtype = value, dtype
            _interned[key] = node
        return node  # type: ignore[return-value]


class Var(Expr):
    """A scalar variable; every ``Var(...)`` is a new one, whatever its name."""

    __slots__ = ("name",)
    name: str

    def __init__(self, name: str, dtype: str = "int32") -> None:
        self.name, self.dtype, self.serial = name, dtype, next(_serials)


class Binary(Expr):
    """``a op b`` with ``op`` one of :data:`BINARY_OPS`.  Build it with :func:`binary` or the operators."""

    __slots__ = ("op", "a", "b")
    op: str
    a: Expr
    b: Expr

    def __new__(cls, op: str, a: Expr, b: Expr) -> Binary:
        key = (Binary, op, id(a), id(b))
        ref = _lookup(key)
        node = None if ref is None else ref()
        if node is None:
            node = object.__new__(cls)
            node.serial = next(_serials)
            node.op, node.a, node.b = op, a, b
            node.dtype = "bool" if op in COMPARE_OPS else a.dtype
            _interned[key] = node
        return node  # type: ignore[return-value]

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.a, self.b)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return binary(self.op, children[0], children[1])


class Not(Expr):
    """Logical negation of a bool."""

    __slots__ = ("a",)
    a: Expr

    def __new__(cls, a: Expr) -> Not:
        key = (Not, id(a))
        ref = _lookup(key)
        node = None if ref is None else ref()
        if node is None:
            node = object.__new__(cls)
            node.serial = next(_serials)
            node.a, node.dtype = a, "bool"
            _interned[key] = node
        return node  # type: ignore[return-value]

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.a,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return logical_not(children[0])


class Select(Expr):
    """``true_value if cond else false_value``; only the chosen side is evaluated (a guarded load is safe)."""

    __slots__ = ("cond", "true_value", "false_value")
    cond: Expr
    true_value: Expr
    false_value: Expr

    def __new__(cls, cond: Expr, true_value: Expr, false_value: Expr) -> Select:
        key = (Select, id(cond), id(true_value), id(false_value))
        ref = _lookup(key)
        node = None if ref is None else ref()
        if node is None:
            node = object.__new__(cls)
            node.serial = next(_serials)
            node.cond, node.true_value, node.false_value = cond, true_value, false_value
            node.dtype = true_value.dtype
            _interned[key] = node
        return node  # type: ignore[return-value]

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.cond, self.true_value, self.false_value)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return select(children[0], children[1], children[2])


class Cast(Expr):
    """Conversion to ``dtype``."""

    __slots__ = ("value",)
    value: Expr

    def __new__(cls, dtype: str, value: Expr) -> Cast:
        key = (Cast, dtype, id(value))
        ref = _lookup(key)
        node = None if ref is None else ref()
        if node is None:
            node = object.__new__(cls)
            node.serial = next(_serials)
            node.value, node.dtype = value, dtype
            _interned[key] = node
        return node  # type: ignore[return-value]

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.value,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return cast(self.dtype, children[0])


class Buffer:
    """A named multi-dimensional array in a memory scope.  Identity is the object, not the name.

    Args:
        name: for printing.
        shape: known integer extents.
        dtype: element type.
        scope: ``"global"`` (DRAM, the default), ``"local"``, or a target's own scope name.
        strides: in elements, one a dimension; None = dense row-major.
    """

    __slots__ = ("name", "shape", "dtype", "scope", "strides")

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        scope: str = "global",
        strides: Sequence[int] | None = None,
    ) -> None:
        self.name = name
        self.shape: tuple[int, ...] = tuple(int(s) for s in shape)
        self.dtype = dtype
        self.scope = scope
        self.strides: tuple[int, ...] | None = None if strides is None else tuple(int(s) for s in strides)

    @property
    def dense_strides(self) -> tuple[int, ...]:
        """Strides in elements (the given ones, or row-major)."""
        if self.strides is not None:
            return self.strides
        out: list[int] = []
        step = 1
        for extent in reversed(self.shape):
            out.append(step)
            step *= extent
        return tuple(reversed(out))

    @property
    def elements(self) -> int:
        """Number of elements the buffer spans, strides included."""
        if not self.shape:
            return 1
        if any(extent == 0 for extent in self.shape):
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.dense_strides, strict=True))

    @property
    def nbytes(self) -> int:
        return self.elements * ITEM_BYTES[self.dtype]

    def __getitem__(self, indices: ExprLike | tuple[ExprLike, ...]) -> Expr:
        if not isinstance(indices, tuple):
            indices = (indices,)
        return Load(self, tuple(as_expr(i) for i in indices))

    def __repr__(self) -> str:
        return f"{self.name}: {self.dtype}{list(self.shape)}@{self.scope}"


class Load(Expr):
    """``buffer[indices]``."""

    __slots__ = ("buffer", "indices")
    buffer: Buffer
    indices: tuple[Expr, ...]

    def __new__(cls, buffer: Buffer, indices: tuple[Expr, ...]) -> Load:
        if len(indices) != len(buffer.shape):
            raise IRTypeError(f"{buffer.name} has {len(buffer.shape)} dimensions, indexed with {len(indices)}")
        key = (Load, id(buffer), *map(id, indices))
        ref = _lookup(key)
        node = None if ref is None else ref()
        if node is None:
            node = object.__new__(cls)
            node.serial = next(_serials)
            node.buffer, node.indices, node.dtype = buffer, indices, buffer.dtype
            _interned[key] = node
        return node  # type: ignore[return-value]

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.indices

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Load(self.buffer, tuple(children))


class Call(Expr):
    """A named function or target intrinsic.

    Pure math functions known to every back end and to the interpreter: ``exp log sqrt tanh sigmoid erf floor ceil round
    abs pow`` and ``rshift_rne(x, s)`` = x / 2**s rounded half to even (integers; ``s`` >= 0).
    ``address_of(load)`` is the address of a buffer element (dtype ``handle``).  Names with a dot (``vdla.gemm``) are a
    target's own intrinsics; ``args`` may hold strings only for those.
    """

    __slots__ = ("name", "args")
    name: str
    args: tuple[Expr | str, ...]

    def __new__(cls, name: str, args: Sequence[Expr | str], dtype: str = "int32") -> Call:
        args = tuple(args)
        key = (Call, name, dtype, *((a if isinstance(a, str) else id(a)) for a in args))
        ref = _lookup(key)
        node = None if ref is None else ref()
        if node is None:
            node = object.__new__(cls)
            node.serial = next(_serials)
            node.name, node.args, node.dtype = name, args, dtype
            _interned[key] = node
        return node  # type: ignore[return-value]

    @property
    def children(self) -> tuple[Expr, ...]:
        return tuple(a for a in self.args if isinstance(a, Expr))

    def with_children(self, children: Sequence[Expr]) -> Expr:
        it = iter(children)
        return Call(self.name, [a if isinstance(a, str) else next(it) for a in self.args], self.dtype)


# --------------------------------------------------------------------------------------------- constructors


_WIDTH = {"bool": 1, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64}


def wrap_int(value: int, dtype: str) -> int:
    """``value`` wrapped into the range of the integer type ``dtype`` (bool: 0 or 1)."""
    if dtype == "bool":
        return int(bool(value))
    bits = _WIDTH[dtype]
    value &= (1 << bits) - 1
    if dtype[0] == "i" and value >> (bits - 1):
        value -= 1 << bits
    return value


def const(value: Number, dtype: str) -> Expr:
    """The constant ``value`` of type ``dtype``."""
    if dtype in FLOAT_DTYPES:
        return FloatImm(float(value), dtype)
    if dtype not in _WIDTH:
        raise IRTypeError(f"no constant of type {dtype!r}")
    return IntImm(int(value), dtype)


def as_expr(value: ExprLike, dtype: str | None = None) -> Expr:
    """``value`` as an expression; a Python number becomes ``dtype`` (default int32, float32 or bool)."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, bool):
        return const(value, dtype or "bool")
    if isinstance(value, float):
        return const(value, dtype or "float32")
    if isinstance(value, int):
        return const(value, dtype or "int32")
    convert = getattr(value, "as_expr", None)  # an IterVar, a 0-d tensor access
    if convert is not None:
        return convert()
    raise IRTypeError(f"cannot make an expression of {value!r} ({type(value).__name__})")


def _fold(op: str, a: Number, b: Number) -> Number | None:
    if op == "add":
        return a + b
    if op == "sub":
        return a - b
    if op == "mul":
        return a * b
    if op == "min":
        return min(a, b)
    if op == "max":
        return max(a, b)
    if op in ("floordiv", "floormod"):
        if b == 0:
            return None
        return a // b if op == "floordiv" else a % b
    if op == "div":
        return a / b if b != 0 else None
    if op in COMPARE_OPS:
        return {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[op]
    if op == "and":
        return bool(a) and bool(b)
    if op == "or":
        return bool(a) or bool(b)
    ia, ib = int(a), int(b)
    if op in ("shl", "shr"):
        if not 0 <= ib < 64:
            return None
        return ia << ib if op == "shl" else ia >> ib
    return {"bitand": ia & ib, "bitor": ia | ib, "bitxor": ia ^ ib}[op]


def _same_operands(op: str, a: Expr) -> Expr:
    """``a op a``, not of floats."""
    if op == "sub":
        return const(0, a.dtype)
    if op in ("min", "max", "and", "or", "bitand", "bitor"):
        return a
    if op in ("eq", "le", "ge"):
        return const(1, "bool")
    if op in ("ne", "lt", "gt"):
        return const(0, "bool")
    return Binary(op, a, a)


def binary(op: str, a: ExprLike, b: ExprLike) -> Expr:
    """``a op b`` with constants folded and identities removed (``x+0``, ``x*1``, ``x*0``, ``x//1``, ``x%1``...)."""
    if not isinstance(a, Expr):
        if isinstance(b, Expr):
            a = as_expr(a, b.dtype if isinstance(a, (int, float)) and b.dtype != "bool" else None)
        else:
            a = as_expr(a)
    if not isinstance(b, Expr):
        b = as_expr(b, a.dtype if isinstance(b, (int, float)) and a.dtype != "bool" else None)
    if a.dtype != b.dtype:
        raise IRTypeError(f"{BINARY_OPS[op]!r} of {a.dtype} and {b.dtype}: {a} and {b}; cast one with .astype(...)")
    if op == "div" and a.dtype not in FLOAT_DTYPES:
        raise IRTypeError(f"'/' needs floats, got {a.dtype}; use // on integers")
    if op in LOGIC_OPS and a.dtype != "bool":
        raise IRTypeError(f"{op!r} needs bools, got {a.dtype}")
    if a.dtype in FLOAT_DTYPES:
        return Binary(op, a, b)  # floats are never rearranged: results must not depend on the simplifier
    ca = a.value if isinstance(a, IntImm) else None
    cb = b.value if isinstance(b, IntImm) else None
    if ca is None and cb is None:
        return _same_operands(op, a) if a is b else Binary(op, a, b)
    if ca is not None and cb is not None:
        folded = _fold(op, ca, cb)
        if folded is not None:
            return const(folded, "bool" if op in COMPARE_OPS else a.dtype)
    if cb is not None:
        if cb == 0 and op in ("add", "sub", "shl", "shr", "bitor", "bitxor"):
            return a
        if cb == 1 and op in ("mul", "floordiv"):
            return a
        if (cb == 0 and op in ("mul", "bitand")) or (cb == 1 and op == "floormod"):
            return const(0, a.dtype)
        if op == "and":
            return a if cb else b
        if op == "or":
            return b if cb else a
        if op == "sub" and isinstance(b, IntImm):
            return binary("add", a, IntImm(-b.value, a.dtype))
    if ca is not None:
        if ca == 0 and op in ("add", "bitor", "bitxor"):
            return b
        if ca == 1 and op == "mul":
            return b
        if ca == 0 and op in ("mul", "bitand"):
            return a
        if op == "and":
            return b if ca else a
        if op == "or":
            return a if ca else b
        if op in ("add", "mul"):
            return binary(op, b, a)  # constants on the right
    if (
        op == "add"
        and cb is not None
        and isinstance(a, Binary)
        and a.op == "add"
        and isinstance(a.b, IntImm)
        and isinstance(b, IntImm)
    ):
        return binary("add", a.a, IntImm(a.b.value + b.value, a.dtype))
    return Binary(op, a, b)


def eq(a: ExprLike, b: ExprLike) -> Expr:
    return binary("eq", a, b)


def ne(a: ExprLike, b: ExprLike) -> Expr:
    return binary("ne", a, b)


def minimum(a: ExprLike, b: ExprLike) -> Expr:
    return binary("min", a, b)


def maximum(a: ExprLike, b: ExprLike) -> Expr:
    return binary("max", a, b)


def logical_and(*conds: ExprLike) -> Expr:
    """Conjunction (of none: true)."""
    out: Expr = const(1, "bool")
    for c in conds:
        out = binary("and", out, c)
    return out


def logical_or(*conds: ExprLike) -> Expr:
    """Disjunction (of none: false)."""
    out: Expr = const(0, "bool")
    for c in conds:
        out = binary("or", out, c)
    return out


def logical_not(a: Expr) -> Expr:
    if isinstance(a, IntImm):
        return const(not a.value, "bool")
    if isinstance(a, Not):
        return a.a
    return Not(a)


def select(cond: ExprLike, true_value: ExprLike, false_value: ExprLike) -> Expr:
    """``true_value if cond else false_value``."""
    cond = as_expr(cond)
    if not isinstance(true_value, Expr):
        true_value = as_expr(true_value, false_value.dtype if isinstance(false_value, Expr) else None)
    if not isinstance(false_value, Expr):
        false_value = as_expr(false_value, true_value.dtype)
    if true_value.dtype != false_value.dtype or cond.dtype != "bool":
        types = f"{cond.dtype}, {true_value.dtype}, {false_value.dtype}"
        raise IRTypeError(f"select of {types}: needs bool and equal types")
    if isinstance(cond, IntImm):
        return true_value if cond.value else false_value
    if true_value is false_value:
        return true_value
    return Select(cond, true_value, false_value)


def cast(dtype: str, value: ExprLike) -> Expr:
    """``value`` converted to ``dtype``."""
    if dtype not in DTYPES:
        raise IRTypeError(f"unknown dtype {dtype!r}; known: {', '.join(sorted(DTYPES))}")
    value = as_expr(value)
    if value.dtype == dtype:
        return value
    if isinstance(value, IntImm):
        return const(value.value, dtype)
    return Cast(dtype, value)


def call(name: str, *args: ExprLike, dtype: str | None = None) -> Expr:
    """A pure math call; its dtype is the first argument's unless given."""
    exprs = [as_expr(a) for a in args]
    return Call(name, exprs, dtype or exprs[0].dtype)


def rshift_rne(x: ExprLike, shift: ExprLike) -> Expr:
    """``x / 2**shift`` rounded half to even, integers."""
    x = as_expr(x)
    return Call("rshift_rne", [x, as_expr(shift, x.dtype)], x.dtype)


# --------------------------------------------------------------------------------------------- statements


class Stmt:
    """Base of all statements."""

    __slots__ = ()

    def __repr__(self) -> str:
        from compiler.ir.printer import stmt_text

        return stmt_text(self)


#: how the iterations of a loop are run
LOOP_KINDS = ("serial", "unrolled", "vectorized", "parallel", "vthread", "thread")


class For(Stmt):
    """``for var in range(extent): body``; ``kind`` one of :data:`LOOP_KINDS`.

    ``thread_tag`` names the axis for ``thread``/``vthread`` loops; ``annotations`` are the schedule's pragmas.
    """

    __slots__ = ("var", "extent", "body", "kind", "thread_tag", "annotations")

    def __init__(
        self,
        var: Var,
        extent: int,
        body: Stmt,
        kind: str = "serial",
        thread_tag: str = "",
        annotations: Mapping[str, Any] | None = None,
    ) -> None:
        if kind not in LOOP_KINDS:
            raise IRTypeError(f"unknown loop kind {kind!r}; one of {LOOP_KINDS}")
        self.var, self.extent, self.body, self.kind = var, int(extent), body, kind
        self.thread_tag = thread_tag
        self.annotations: dict[str, Any] = dict(annotations or {})

    def replace(self, **changes: Any) -> For:
        fields: dict[str, Any] = {name: getattr(self, name) for name in For.__slots__}
        fields.update(changes)
        return For(**fields)


class Store(Stmt):
    """``buffer[indices] = value``."""

    __slots__ = ("buffer", "indices", "value")

    def __init__(self, buffer: Buffer, indices: Sequence[ExprLike], value: ExprLike) -> None:
        self.buffer = buffer
        self.indices: tuple[Expr, ...] = tuple(as_expr(i) for i in indices)
        self.value: Expr = as_expr(value, buffer.dtype)
        if len(self.indices) != len(buffer.shape):
            raise IRTypeError(f"{buffer.name} has {len(buffer.shape)} dimensions, stored with {len(self.indices)}")
        if self.value.dtype != buffer.dtype:
            raise IRTypeError(f"store of {self.value.dtype} into {buffer!r}")


class Seq(Stmt):
    """Statements one after the other (build with :func:`seq`, which flattens)."""

    __slots__ = ("stmts",)

    def __init__(self, stmts: Sequence[Stmt]) -> None:
        self.stmts: tuple[Stmt, ...] = tuple(stmts)


class If(Stmt):
    """``if cond: then [else: otherwise]``."""

    __slots__ = ("cond", "then", "otherwise")

    def __init__(self, cond: Expr, then: Stmt, otherwise: Stmt | None = None) -> None:
        self.cond, self.then, self.otherwise = cond, then, otherwise


class Allocate(Stmt):
    """``buffer`` exists inside ``body`` (its contents undefined at the start)."""

    __slots__ = ("buffer", "body")

    def __init__(self, buffer: Buffer, body: Stmt) -> None:
        self.buffer, self.body = buffer, body


class Attr(Stmt):
    """An annotation ``key = value`` about ``node`` that holds over ``body`` (pragmas, layer marks)."""

    __slots__ = ("key", "node", "value", "body")

    def __init__(self, key: str, value: Any, body: Stmt, node: Any = None) -> None:
        self.key, self.value, self.body, self.node = key, value, body, node


class Evaluate(Stmt):
    """An expression for its effect: a target intrinsic."""

    __slots__ = ("value",)

    def __init__(self, value: Expr) -> None:
        self.value = value


class PrimFunc:
    """One lowered function: parameters are buffers in global memory, in call order."""

    __slots__ = ("name", "params", "body", "attrs")

    def __init__(self, name: str, params: Sequence[Buffer], body: Stmt, attrs: Mapping[str, Any] | None = None) -> None:
        self.name, self.params, self.body = name, tuple(params), body
        self.attrs: dict[str, Any] = dict(attrs or {})

    def with_body(self, body: Stmt) -> PrimFunc:
        return PrimFunc(self.name, self.params, body, self.attrs)

    def __repr__(self) -> str:
        from compiler.ir.printer import func_text

        return func_text(self)


def seq(*stmts: Stmt) -> Stmt:
    """The statements in order, nested sequences flattened; one statement stays itself."""
    flat: list[Stmt] = []
    for s in stmts:
        if isinstance(s, Seq):
            flat.extend(s.stmts)
        else:
            flat.append(s)
    return flat[0] if len(flat) == 1 else Seq(flat)


# --------------------------------------------------------------------------------------------- traversal


def walk_expr(expr: Expr) -> Iterator[Expr]:
    """Every node of ``expr`` once (shared nodes once), children before parents not guaranteed."""
    seen: set[int] = set()
    stack = [expr]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        stack.extend(node.children)


def stmt_children(stmt: Stmt) -> tuple[Stmt, ...]:
    """The statements directly inside ``stmt``."""
    if isinstance(stmt, Seq):
        return stmt.stmts
    if isinstance(stmt, (For, Allocate, Attr)):
        return (stmt.body,)
    if isinstance(stmt, If):
        return (stmt.then,) if stmt.otherwise is None else (stmt.then, stmt.otherwise)
    return ()


def stmt_exprs(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions directly in ``stmt`` (not in nested statements)."""
    if isinstance(stmt, Store):
        return (*stmt.indices, stmt.value)
    if isinstance(stmt, If):
        return (stmt.cond,)
    if isinstance(stmt, Evaluate):
        return (stmt.value,)
    return ()


def walk_stmt(stmt: Stmt) -> Iterator[Stmt]:
    """Every statement in ``stmt``, itself first, in program order."""
    stack = [stmt]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(stmt_children(node)))


def free_vars(expr: Expr) -> set[Var]:
    return {n for n in walk_expr(expr) if isinstance(n, Var)}


def rewrite_expr(
    expr: Expr, fn: Callable[[Expr], Expr | None], memo: dict[int, tuple[Expr, Expr]] | None = None
) -> Expr:
    """``expr`` rebuilt bottom-up; ``fn(node)`` sees each node with its children already rewritten and returns a
    replacement or None to keep it.  ``memo`` may be shared over calls with the same ``fn``."""
    memo = {} if memo is None else memo

    def go(node: Expr) -> Expr:
        hit = memo.get(id(node))
        if hit is not None:
            return hit[1]
        children = node.children
        if children:
            new = [go(c) for c in children]
            changed = any(n is not c for n, c in zip(new, children, strict=True))
            rebuilt = node.with_children(new) if changed else node
        else:
            rebuilt = node
        replaced = fn(rebuilt)
        result = rebuilt if replaced is None else replaced
        memo[id(node)] = (node, result)  # the key node is kept alive so that its id stays its own
        return result

    return go(expr)


def substitute(expr: Expr, env: Mapping[Var, ExprLike]) -> Expr:
    """``expr`` with variables replaced."""
    if not env:
        return expr
    table = {v: as_expr(e) for v, e in env.items()}
    return rewrite_expr(expr, lambda n: table.get(n) if isinstance(n, Var) else None)


def map_stmt(
    stmt: Stmt,
    on_expr: Callable[[Expr], Expr] | None = None,
    on_stmt: Callable[[Stmt], Stmt | None] | None = None,
) -> Stmt:
    """``stmt`` rebuilt bottom-up: ``on_expr`` maps each expression held by a statement, then ``on_stmt`` may replace
    the rebuilt statement (None keeps it)."""

    def ex(e: Expr) -> Expr:
        return e if on_expr is None else on_expr(e)

    def go(node: Stmt) -> Stmt:
        if isinstance(node, Seq):
            out: Stmt = seq(*[go(s) for s in node.stmts])
        elif isinstance(node, For):
            out = node.replace(body=go(node.body))
        elif isinstance(node, Allocate):
            out = Allocate(node.buffer, go(node.body))
        elif isinstance(node, Attr):
            out = Attr(node.key, node.value, go(node.body), node.node)
        elif isinstance(node, If):
            other = None if node.otherwise is None else go(node.otherwise)
            out = If(ex(node.cond), go(node.then), other)
        elif isinstance(node, Store):
            out = Store(node.buffer, [ex(i) for i in node.indices], ex(node.value))
        elif isinstance(node, Evaluate):
            out = Evaluate(ex(node.value))
        else:
            raise IRTypeError(f"unknown statement {type(node).__name__}")
        if on_stmt is not None:
            replaced = on_stmt(out)
            if replaced is not None:
                return replaced
        return out

    return go(stmt)


def substitute_stmt(stmt: Stmt, env: Mapping[Var, ExprLike]) -> Stmt:
    """``stmt`` with variables replaced in every expression."""
    table = {v: as_expr(e) for v, e in env.items()}
    memo: dict[int, tuple[Expr, Expr]] = {}

    def sub(e: Expr) -> Expr:
        return rewrite_expr(e, lambda n: table.get(n) if isinstance(n, Var) else None, memo)

    return map_stmt(stmt, on_expr=sub)


def loops_of(stmt: Stmt) -> Iterable[For]:
    return (s for s in walk_stmt(stmt) if isinstance(s, For))
