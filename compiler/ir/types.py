"""Element types and binary operations of the loop IR: their tables, and integer arithmetic on Python numbers."""

from __future__ import annotations

INT_DTYPES = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"})
FLOAT_DTYPES = frozenset({"float32", "float64"})
DTYPES = INT_DTYPES | FLOAT_DTYPES | {"bool", "handle"}
ITEM_BYTES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8,
    "float32": 4, "float64": 8, "handle": 8,
}  # fmt: skip

Number = int | float | bool

#: operation -> symbol used by the printer
BINARY_OPS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "floormod": "%", "min": "min", "max": "max",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "and": "and", "or": "or",
    "shl": "<<", "shr": ">>", "bitand": "&", "bitor": "|", "bitxor": "^",
}  # fmt: skip
COMPARE_OPS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
LOGIC_OPS = frozenset({"and", "or"})
COMMUTATIVE_OPS = frozenset({"add", "mul", "min", "max", "eq", "ne", "and", "or", "bitand", "bitor", "bitxor"})

#: width of the types an integer constant may have
INT_BITS = {"bool": 1, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64}
#: least and largest value
INT_RANGES = {
    dtype: (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if dtype[0] == "i" else (0, (1 << bits) - 1)
    for dtype, bits in INT_BITS.items()
}


def wrap_int(value: int, dtype: str) -> int:
    """``value`` wrapped into the range of the integer type ``dtype`` (bool: 0 or 1)."""
    if dtype == "bool":
        return int(bool(value))
    bits = INT_BITS[dtype]
    value &= (1 << bits) - 1
    if dtype[0] == "i" and value >> (bits - 1):
        value -= 1 << bits
    return value


def fold(op: str, a: int, b: int) -> int | None:
    """``a op b``, not yet wrapped into a type; None where it has no value (``x // 0``, a shift by 64 bits)."""
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
    if op in COMPARE_OPS:
        return {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[op]
    if op == "and":
        return bool(a) and bool(b)
    if op == "or":
        return bool(a) or bool(b)
    if op in ("shl", "shr"):
        if not 0 <= b < 64:
            return None
        return a << b if op == "shl" else a >> b
    return {"bitand": a & b, "bitor": a | b, "bitxor": a ^ b}[op]
