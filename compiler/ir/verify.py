"""Checks that a program keeps the rules of the loop IR; run between any two passes.

Rules: every variable is bound by an enclosing loop (or given as a parameter), each loop has a variable of its own;
loop extents are positive; every buffer accessed is a parameter or allocated around the access; indices are ``int32``
or ``int64`` and as many as the buffer has dimensions; stored values have the buffer's type; conditions are ``bool``;
operands of a binary operation agree; pure calls are known and have the right number of arguments; expressions are
nested at most :data:`MAX_DEPTH` deep (analyses and back ends are recursive).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from compiler.errors import VerifyError
from compiler.ir.buffer import Buffer, Load
from compiler.ir.expr import Binary, Call, Cast, Expr, Not, Select, Var
from compiler.ir.stmt import Allocate, Attr, Evaluate, For, If, PrimFunc, Seq, Stmt, Store
from compiler.ir.types import COMPARE_OPS, DTYPES, FLOAT_DTYPES, INT_DTYPES, LOGIC_OPS

#: pure functions known to every back end and to the interpreter -> number of arguments
PURE_CALLS = {
    "exp": 1, "log": 1, "sqrt": 1, "tanh": 1, "sigmoid": 1, "erf": 1, "floor": 1, "ceil": 1, "round": 1, "abs": 1,
    "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1, "sinh": 1, "cosh": 1, "asinh": 1, "acosh": 1,
    "atanh": 1, "pow": 2, "fmod": 2, "fma": 3, "rshift_rne": 2, "popcount": 1, "address_of": 1,
}  # fmt: skip
MAX_DEPTH = 150
_INT_CALLS = frozenset({"abs", "rshift_rne"})
_UNSIGNED_CALLS = frozenset({"popcount"})
_FLOAT_CALLS = frozenset(PURE_CALLS) - {"rshift_rne", "popcount", "address_of"}


class _Verifier:
    def __init__(self, func: PrimFunc, free: Iterable[Var]) -> None:
        self.name = func.name
        self.vars: set[Var] = set(free)
        self.bound: set[Var] = set(free)
        self.buffers: set[int] = {id(b) for b in func.params}
        self.checked: set[Expr] = set()  # nodes whose types were checked; scope is checked by leaves
        self.where: Stmt | None = None

    def fail(self, reason: str) -> NoReturn:
        at = ""
        if self.where is not None:
            line = _first_line(self.where)
            at = f" in `{line if len(line) <= 200 else line[:200] + '...'}`"
        raise VerifyError(f"{self.name}: {reason}{at}")

    # ------------------------------------------------------------------ expressions

    def expr(self, root: Expr) -> None:
        seen: set[Expr] = set()
        stack = [(root, 0)]
        while stack:
            node, depth = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if depth > MAX_DEPTH:
                self.where = None  # too deep to print, too
                self.fail(f"an expression is nested more than {MAX_DEPTH} deep; compute a part of it into a buffer")
            if isinstance(node, Var):
                if node not in self.vars:
                    self.fail(f"variable {node.name} is used outside the loop that defines it")
            elif isinstance(node, Load) and id(node.buffer) not in self.buffers:
                self.fail(f"buffer {node.buffer.name} is read but is neither a parameter nor allocated around it")
            if node not in self.checked:
                self.types(node)
                self.checked.add(node)
            stack.extend((child, depth + 1) for child in node.children)

    def types(self, node: Expr) -> None:
        if node.dtype not in DTYPES:
            self.fail(f"unknown type {node.dtype!r} of {node}")
        if isinstance(node, Binary):
            if node.a.dtype != node.b.dtype:
                self.fail(f"operands of {node} are {node.a.dtype} and {node.b.dtype}")
            if node.op in LOGIC_OPS and node.a.dtype != "bool":
                self.fail(f"{node.op!r} of {node.a.dtype}; it takes bools")
            if node.op not in COMPARE_OPS and node.op not in LOGIC_OPS and node.dtype in ("bool", "handle"):
                self.fail(f"{node.op!r} of {node.dtype} values; cast them first")
            if node.op == "div" and node.dtype not in FLOAT_DTYPES:
                self.fail(f"'/' of {node.dtype}; use // on integers")
            if node.op in ("shl", "shr", "bitand", "bitor", "bitxor") and node.dtype not in INT_DTYPES:
                self.fail(f"{node.op!r} of {node.dtype}; it takes integers")
        elif isinstance(node, Not):
            if node.a.dtype != "bool":
                self.fail(f"`not` of {node.a.dtype}; it takes a bool")
        elif isinstance(node, Select):
            if node.cond.dtype != "bool" or node.true_value.dtype != node.false_value.dtype:
                self.fail(f"select of {node.cond.dtype}, {node.true_value.dtype}, {node.false_value.dtype}")
        elif isinstance(node, Cast):
            if "handle" in (node.dtype, node.value.dtype):
                self.fail("addresses cannot be cast")
        elif isinstance(node, Load):
            self.access(node.buffer, node.indices)
        elif isinstance(node, Call):
            self.call(node)

    def call(self, node: Call) -> None:
        if "." in node.name:
            return  # a target's own intrinsic: the target knows its arguments
        count = PURE_CALLS.get(node.name)
        if count is None:
            self.fail(f"unknown function {node.name!r}; known: {', '.join(sorted(PURE_CALLS))}")
        args = node.children
        if len(args) != count or len(args) != len(node.args):
            self.fail(f"{node.name} takes {count} argument(s), got {len(node.args)}")
        if node.name == "address_of":
            if not isinstance(args[0], Load):
                self.fail("address_of takes a buffer element")
            return
        kinds = (FLOAT_DTYPES if node.name in _FLOAT_CALLS else frozenset()) | (
            {d for d in INT_DTYPES if d[0] == "i"} if node.name in _INT_CALLS else frozenset()
        )
        if node.name in _UNSIGNED_CALLS:
            kinds = frozenset(d for d in INT_DTYPES if d[0] == "u")
        if any(a.dtype != node.dtype or a.dtype not in kinds for a in args):
            got = ", ".join(a.dtype for a in args)
            self.fail(f"{node.name}({got}) -> {node.dtype}; one type throughout, of {', '.join(sorted(kinds))}")

    def access(self, buffer: Buffer, indices: tuple[Expr, ...]) -> None:
        if len(indices) != len(buffer.shape):
            self.fail(f"{buffer.name} has {len(buffer.shape)} dimensions, indexed with {len(indices)}")
        for i in indices:
            if i.dtype not in ("int32", "int64"):
                self.fail(f"index {i} of {buffer.name} is {i.dtype}; indices are int32 or int64")

    # ------------------------------------------------------------------ statements

    def buffer(self, buffer: Buffer) -> None:
        if any(extent < 1 for extent in buffer.shape):
            self.fail(f"buffer {buffer.name} has shape {list(buffer.shape)}; extents must be positive")
        if buffer.dtype not in DTYPES or buffer.dtype == "handle":
            self.fail(f"buffer {buffer.name} has elements of type {buffer.dtype!r}")
        if buffer.strides is not None and (
            len(buffer.strides) != len(buffer.shape) or any(s < 0 for s in buffer.strides)
        ):
            self.fail(f"buffer {buffer.name}: strides {list(buffer.strides)} do not fit shape {list(buffer.shape)}")

    def stmt(self, stmt: Stmt) -> None:
        if isinstance(stmt, Seq):
            for child in stmt.stmts:
                self.stmt(child)
            return
        self.where = stmt
        if isinstance(stmt, For):
            if stmt.extent < 1:
                self.fail(f"loop extent {stmt.extent}; it must be positive")
            if stmt.var.dtype not in ("int32", "int64"):
                self.fail(f"loop variable {stmt.var.name} is {stmt.var.dtype}; it must be int32 or int64")
            if stmt.var in self.bound:
                self.fail(f"variable {stmt.var.name} belongs to two loops; each loop needs its own")
            self.bound.add(stmt.var)
            self.vars.add(stmt.var)
            self.stmt(stmt.body)
            self.vars.discard(stmt.var)
        elif isinstance(stmt, Store):
            if id(stmt.buffer) not in self.buffers:
                self.fail(f"buffer {stmt.buffer.name} is written but is neither a parameter nor allocated around it")
            self.access(stmt.buffer, stmt.indices)
            if stmt.value.dtype != stmt.buffer.dtype:
                self.fail(f"{stmt.value.dtype} stored into {stmt.buffer!r}")
            for e in (*stmt.indices, stmt.value):
                self.expr(e)
        elif isinstance(stmt, If):
            if stmt.cond.dtype != "bool":
                self.fail(f"condition {stmt.cond} is {stmt.cond.dtype}; it must be bool")
            self.expr(stmt.cond)
            self.stmt(stmt.then)
            if stmt.otherwise is not None:
                self.stmt(stmt.otherwise)
        elif isinstance(stmt, Allocate):
            if id(stmt.buffer) in self.buffers:
                self.fail(f"buffer {stmt.buffer.name} is allocated inside its own scope")
            self.buffer(stmt.buffer)
            self.buffers.add(id(stmt.buffer))
            self.stmt(stmt.body)
            self.buffers.discard(id(stmt.buffer))
        elif isinstance(stmt, Attr):
            if isinstance(stmt.value, Expr):
                self.expr(stmt.value)
            self.stmt(stmt.body)
        elif isinstance(stmt, Evaluate):
            self.expr(stmt.value)
        else:
            self.fail(f"unknown statement {type(stmt).__name__}")


def _first_line(stmt: Stmt) -> str:
    from compiler.ir.printer import stmt_text

    return stmt_text(stmt).split("\n", 1)[0].strip()


def verify(func: PrimFunc, *, free: Iterable[Var] = ()) -> PrimFunc:
    """Check ``func`` and return it.

    Args:
        free: variables that may be used without an enclosing loop (a program in the middle of lowering).

    Raises:
        VerifyError: naming the function, the broken rule and the statement.
    """
    v = _Verifier(func, free)
    if len({id(b) for b in func.params}) != len(func.params):
        v.fail("a buffer appears twice among the parameters")
    for b in func.params:
        v.buffer(b)
    v.stmt(func.body)
    return func
