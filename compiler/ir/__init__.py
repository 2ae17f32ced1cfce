"""The loop IR: nodes, printer, verifier and reference interpreter.

The nodes are exported here; :mod:`compiler.ir.interp` (numpy) is imported by those who run programs.
"""

from __future__ import annotations

from compiler.ir.buffer import Buffer, Load
from compiler.ir.build import call, eq, logical_and, logical_or, maximum, minimum, ne, rshift_rne
from compiler.ir.expr import (
    Binary,
    Call,
    Cast,
    Expr,
    ExprLike,
    FloatImm,
    IntImm,
    Not,
    Select,
    Var,
    as_expr,
    binary,
    cast,
    const,
    logical_not,
    select,
)
from compiler.ir.printer import expr_text, func_text, stmt_text
from compiler.ir.stmt import LOOP_KINDS, Allocate, Attr, Evaluate, For, If, PrimFunc, Seq, Stmt, Store, seq
from compiler.ir.traverse import (
    free_vars,
    loops_of,
    map_stmt,
    rewrite_expr,
    stmt_children,
    stmt_exprs,
    substitute,
    substitute_stmt,
    walk_expr,
    walk_stmt,
)
from compiler.ir.types import (
    BINARY_OPS,
    COMMUTATIVE_OPS,
    COMPARE_OPS,
    DTYPES,
    FLOAT_DTYPES,
    INT_DTYPES,
    INT_RANGES,
    ITEM_BYTES,
    LOGIC_OPS,
    wrap_int,
)
from compiler.ir.verify import verify

__all__ = [
    "BINARY_OPS", "COMMUTATIVE_OPS", "COMPARE_OPS", "DTYPES", "FLOAT_DTYPES", "INT_DTYPES", "INT_RANGES", "ITEM_BYTES",
    "LOGIC_OPS", "LOOP_KINDS", "Allocate", "Attr", "Binary", "Buffer", "Call", "Cast", "Evaluate", "Expr",
    "ExprLike", "FloatImm", "For", "If", "IntImm", "Load", "Not", "PrimFunc", "Select", "Seq", "Stmt", "Store",
    "Var", "as_expr", "binary", "call", "cast", "const", "eq", "expr_text", "free_vars", "func_text",
    "logical_and", "logical_not", "logical_or", "loops_of", "map_stmt", "maximum", "minimum", "ne",
    "rewrite_expr", "rshift_rne", "select", "seq", "stmt_children", "stmt_exprs", "stmt_text", "substitute",
    "substitute_stmt", "verify", "walk_expr", "walk_stmt", "wrap_int",
]  # fmt: skip
