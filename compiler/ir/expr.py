"""Expressions of the loop IR: the nodes and the constructors they build each other with.

Expressions are immutable, slotted and *interned*: two structurally equal expressions are the same object, so
equality is ``is``, hashing is by identity and every analysis can be memoised on the node.

Types (``dtype``) are strings: ``bool int8 int16 int32 int64 uint8 float32 float64`` and ``handle``.  Indices and loop
variables are ``int32``.  Both operands of a binary operation have the same dtype; a plain Python number takes the
dtype of the other operand.  Integer ``floordiv``/``floormod`` round towards minus infinity; integer arithmetic
wraps around in the width of its dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_float
from itertools import count
from typing import Any, TypeVar, Union
from weakref import WeakValueDictionary

from compiler.errors import IRTypeError
from compiler.ir.types import BINARY_OPS, COMPARE_OPS, DTYPES, FLOAT_DTYPES, INT_BITS, LOGIC_OPS, Number, fold, wrap_int

ExprLike = Union["Expr", int, float, bool]
Node = TypeVar("Node", bound="Expr")

interned: WeakValueDictionary[tuple[Any, ...], Expr] = WeakValueDictionary()
_references = interned.data.get  # pyright: ignore[reportAttributeAccessIssue]
_serials = count()


def found(key: tuple[Any, ...]) -> Any:
    """The living node interned under ``key``, or None (in half the time of WeakValueDictionary.get)."""
    reference = _references(key)
    return None if reference is None else reference()


def new_node(cls: type[Node]) -> Node:
    """A node with nothing but its serial number; its class fills in the rest and then interns it."""
    node = object.__new__(cls)
    node.serial = next(_serials)
    return node


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
        node = found(key)
        if node is None:
            node = new_node(cls)
            node.value, node.dtype = value, dtype
            interned[key] = node
        return node


class FloatImm(Expr):
    """A floating-point constant, already rounded to its dtype."""

    __slots__ = ("value",)
    value: float

    def __new__(cls, value: float, dtype: str = "float32") -> FloatImm:
        value = c_float(value).value if dtype == "float32" else float(value)
        key = (FloatImm, value.hex(), dtype)
        node = found(key)
        if node is None:
            node = new_node(cls)
            node.value, node.dtype = value, dtype
            interned[key] = node
        return node


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
        node = found(key)
        if node is None:
            node = new_node(cls)
            node.op, node.a, node.b = op, a, b
            node.dtype = "bool" if op in COMPARE_OPS else a.dtype
            interned[key] = node
        return node

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
        node = found(key)
        if node is None:
            node = new_node(cls)
            node.a, node.dtype = a, "bool"
            interned[key] = node
        return node

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
        node = found(key)
        if node is None:
            node = new_node(cls)
            node.cond, node.true_value, node.false_value = cond, true_value, false_value
            node.dtype = true_value.dtype
            interned[key] = node
        return node

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
        node = found(key)
        if node is None:
            node = new_node(cls)
            node.value, node.dtype = value, dtype
            interned[key] = node
        return node

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.value,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return cast(self.dtype, children[0])


class Call(Expr):
    """A named function or target intrinsic.

    Pure math functions known to every back end and to the interpreter: ``exp log sqrt tanh sigmoid erf floor ceil round
    abs pow``, ``fma(x, y, z)`` = x * y + z rounded once, ``rshift_rne(x, s)`` = x / 2**s rounded half to even
    (integers; ``s`` >= 0), and ``popcount(x)``, how many bits of an unsigned integer are set.
    ``address_of(load)`` is the address of a buffer element (dtype ``handle``).  Names with a dot (``vdla.gemm``) are a
    target's own intrinsics; ``args`` may hold strings only for those.
    """

    __slots__ = ("name", "args")
    name: str
    args: tuple[Expr | str, ...]

    def __new__(cls, name: str, args: Sequence[Expr | str], dtype: str = "int32") -> Call:
        args = tuple(args)
        key = (Call, name, dtype, *((a if isinstance(a, str) else id(a)) for a in args))
        node = found(key)
        if node is None:
            node = new_node(cls)
            node.name, node.args, node.dtype = name, args, dtype
            interned[key] = node
        return node

    @property
    def children(self) -> tuple[Expr, ...]:
        return tuple(a for a in self.args if isinstance(a, Expr))

    def with_children(self, children: Sequence[Expr]) -> Expr:
        it = iter(children)
        return Call(self.name, [a if isinstance(a, str) else next(it) for a in self.args], self.dtype)


def const(value: Number, dtype: str) -> Expr:
    """The constant ``value`` of type ``dtype``."""
    if dtype in FLOAT_DTYPES:
        return FloatImm(float(value), dtype)
    if dtype not in INT_BITS:
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
        folded = fold(op, ca, cb)
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
