"""Loop IR as readable, Python-like text.

Parentheses appear only where Python's own precedence needs them to give back the same tree.  Names are stable: two
variables or buffers of one name are told apart by a suffix in order of first appearance (``i``, ``i_1``).  A constant
shows its type only where nothing beside it does: ``x + 1`` with an int8 ``x``, but ``int8(1)`` alone.
"""

from __future__ import annotations

from compiler.ir.buffer import Buffer, Load
from compiler.ir.expr import Binary, Call, Cast, Expr, FloatImm, IntImm, Not, Select, Var
from compiler.ir.stmt import Allocate, Attr, Evaluate, For, If, PrimFunc, Seq, Stmt, Store
from compiler.ir.types import BINARY_OPS, COMPARE_OPS

_PRECEDENCE = {
    "or": 1, "and": 2, "bitor": 5, "bitxor": 6, "bitand": 7, "shl": 8, "shr": 8, "add": 9, "sub": 9,
    "mul": 10, "div": 10, "floordiv": 10, "floormod": 10, **dict.fromkeys(COMPARE_OPS, 4),
}  # fmt: skip
_NOT, _UNARY, _ATOM = 3, 11, 12


class Namer:
    """Gives each variable and buffer its printed name, unique in one printed text."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[object, str]] = {}
        self._used: set[str] = set()

    def __call__(self, item: Var | Buffer) -> str:
        hit = self._names.get(id(item))
        if hit is not None:
            return hit[1]
        name, n = item.name, 0
        while name in self._used:
            n += 1
            name = f"{item.name}_{n}"
        self._used.add(name)
        self._names[id(item)] = (item, name)  # holds the item, so that its id stays its own
        return name


def _float_text(value: float, dtype: str) -> str:
    if dtype == "float64" or value != value or value in (float("inf"), float("-inf")):
        return repr(value)
    for digits in range(1, 10):  # the shortest text that reads back as the same float32
        text = f"{value:.{digits}g}"
        if FloatImm(float(text), "float32").value == value:
            return repr(float(text))
    return repr(value)


def _literal(node: IntImm | FloatImm, typed: bool) -> tuple[str, int]:
    if isinstance(node, FloatImm):
        text = _float_text(node.value, node.dtype)
        if not typed and node.dtype != "float32":
            return f"{node.dtype}({text})", _ATOM
    elif node.dtype == "bool":
        return ("True" if node.value else "False"), _ATOM
    else:
        text = str(node.value)
        if not typed and node.dtype != "int32":
            return f"{node.dtype}({text})", _ATOM
    return text, (_UNARY if text.startswith("-") else _ATOM)


def _expr(node: Expr, name: Namer, typed: bool = False) -> tuple[str, int]:
    """Text and precedence of ``node``; ``typed``: a literal's type is known from what stands beside it."""
    if isinstance(node, Var):
        return name(node), _ATOM
    if isinstance(node, (IntImm, FloatImm)):
        return _literal(node, typed)
    if isinstance(node, Binary):
        return _binary(node, name, typed)
    if isinstance(node, Load):
        return _access(node.buffer, node.indices, name), _ATOM
    if isinstance(node, Cast):
        return f"{node.dtype}({_expr(node.value, name)[0]})", _ATOM
    if isinstance(node, Select):
        known = typed or not (_is_literal(node.true_value) and _is_literal(node.false_value))
        parts = [_expr(node.cond, name)[0], *(_expr(e, name, known)[0] for e in node.children[1:])]
        return f"select({', '.join(parts)})", _ATOM
    if isinstance(node, Not):
        return f"not {_wrap(_expr(node.a, name), _NOT)}", _NOT
    if isinstance(node, Call):
        args = [repr(a) if isinstance(a, str) else _expr(a, name)[0] for a in node.args]
        return f"{node.name}({', '.join(args)})", _ATOM
    return f"<{type(node).__name__}>", _ATOM


def _is_literal(node: Expr) -> bool:
    return isinstance(node, (IntImm, FloatImm))


def _wrap(text: tuple[str, int], least: int) -> str:
    return text[0] if text[1] >= least else f"({text[0]})"


def _binary(node: Binary, name: Namer, typed: bool) -> tuple[str, int]:
    op, a, b = node.op, node.a, node.b
    known = not (_is_literal(a) and _is_literal(b)) or (typed and op not in COMPARE_OPS)
    if op in ("min", "max"):
        return f"{op}({_expr(a, name, known)[0]}, {_expr(b, name, known)[0]})", _ATOM
    if op == "sub" and isinstance(a, IntImm) and a.value == 0:
        return f"-{_wrap(_expr(b, name, typed), _UNARY)}", _UNARY
    symbol, own = BINARY_OPS[op], _PRECEDENCE[op]
    left = _wrap(_expr(a, name, known), own + (op in COMPARE_OPS))
    right_text = _expr(b, name, known)
    if op == "add" and isinstance(b, IntImm) and b.value < 0:
        symbol, right_text = "-", (str(-b.value), _ATOM)
    return f"{left} {symbol} {_wrap(right_text, own + 1)}", own


def _access(buffer: Buffer, indices: tuple[Expr, ...], name: Namer) -> str:
    return f"{name(buffer)}[{', '.join(_expr(i, name)[0] for i in indices) or '()'}]"


def _lines(stmt: Stmt, name: Namer, indent: str, out: list[str]) -> None:
    inner = indent + "    "
    if isinstance(stmt, Seq):
        for child in stmt.stmts:
            _lines(child, name, indent, out)
        if not stmt.stmts:
            out.append(f"{indent}pass")
    elif isinstance(stmt, For):
        if stmt.kind == "serial":
            header = f"range({stmt.extent})"
        elif stmt.thread_tag:
            header = f"{stmt.kind}({stmt.extent}, {stmt.thread_tag!r})"
        else:
            header = f"{stmt.kind}({stmt.extent})"
        notes = ", ".join(f"{k}={v!r}" for k, v in stmt.annotations.items())
        out.append(f"{indent}for {name(stmt.var)} in {header}:{'  # ' + notes if notes else ''}")
        _lines(stmt.body, name, inner, out)
    elif isinstance(stmt, Store):
        value = _expr(stmt.value, name, typed=True)[0]
        out.append(f"{indent}{_access(stmt.buffer, stmt.indices, name)} = {value}")
    elif isinstance(stmt, If):
        out.append(f"{indent}if {_expr(stmt.cond, name)[0]}:")
        _lines(stmt.then, name, inner, out)
        if stmt.otherwise is not None:
            out.append(f"{indent}else:")
            _lines(stmt.otherwise, name, inner, out)
    elif isinstance(stmt, Allocate):
        out.append(f"{indent}{name(stmt.buffer)} = allocate({_buffer(stmt.buffer)})")
        _lines(stmt.body, name, indent, out)
    elif isinstance(stmt, Attr):
        value = _expr(stmt.value, name)[0] if isinstance(stmt.value, Expr) else repr(stmt.value)
        about = f", {name(stmt.node)}" if isinstance(stmt.node, (Var, Buffer)) else ""
        out.append(f"{indent}with attr({stmt.key!r}, {value}{about}):")
        _lines(stmt.body, name, inner, out)
    elif isinstance(stmt, Evaluate):
        out.append(f"{indent}{_expr(stmt.value, name)[0]}")
    else:
        out.append(f"{indent}<{type(stmt).__name__}>")


def _buffer(buffer: Buffer) -> str:
    text = f"{buffer.dtype}[{', '.join(map(str, buffer.shape))}]"
    if buffer.scope != "global":
        text += f", scope={buffer.scope!r}"
    if buffer.strides is not None:
        text += f", strides={list(buffer.strides)}"
    return text


def expr_text(expr: Expr, namer: Namer | None = None) -> str:
    """``expr`` on one line, e.g. ``A[i, j] + select(i < 3, x, 0)``."""
    return _expr(expr, namer or Namer())[0]


def stmt_text(stmt: Stmt, namer: Namer | None = None) -> str:
    """``stmt`` as an indented loop nest (no newline at the end)."""
    out: list[str] = []
    _lines(stmt, namer or Namer(), "", out)
    return "\n".join(out)


def func_text(func: PrimFunc) -> str:
    """The whole function: a ``def`` line with the parameter buffers, its attributes as comments, the body."""
    name = Namer()
    params = [f"{name(b)}: {_buffer(b)}" for b in func.params]
    out = [f"def {func.name}({', '.join(params)}):"]
    out += [f"    # {key} = {value!r}" for key, value in func.attrs.items()]
    _lines(func.body, name, "    ", out)
    return "\n".join(out)
