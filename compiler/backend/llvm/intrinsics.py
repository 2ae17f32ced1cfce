"""Any of LLVM's intrinsics in the loop IR: how a schedule reaches an instruction that no expression stands for.

A tensor intrinsic's lowering rule builds its statements from these calls; the code generator below knows their forms
and no instruction by name.  Types are LLVM's mangled ones: ``i8``, ``i64``, ``f32``, ``ptr``, ``v16i32``, ``v64i8``.
Which intrinsics a processor has, whoever declares them must know: LLVM ends the process on one that it cannot emit.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import llvmlite.ir as ir

from compiler.backend.llvm import operations as ops
from compiler.errors import CodegenError
from compiler.ir import ITEM_BYTES, Call, Evaluate, Expr, IntImm, Load, PrimFunc, stmt_exprs, walk_expr, walk_stmt

if TYPE_CHECKING:
    from compiler.backend.llvm.codegen import FunctionEmitter

_TYPE = re.compile(r"(?:v([0-9]+))?(i|f)([0-9]+)")
_FLOATS = {16: ir.HalfType(), 32: ir.FloatType(), 64: ir.DoubleType()}
_ALIGN = 64
_COMBINE: dict[str, Any] = {
    "and": ir.IRBuilder.and_, "or": ir.IRBuilder.or_, "xor": ir.IRBuilder.xor, "add": ir.IRBuilder.add,
    "sub": ir.IRBuilder.sub, "mul": ir.IRBuilder.mul, "shl": ir.IRBuilder.shl,
}  # fmt: skip


def invoke(name: str, *operands: Expr, returns: str = "") -> Call:
    """A call of the LLVM function ``name``; a value of type ``returns``, or a statement's (see :func:`perform`)."""
    return Call("llvm.call", (name, returns, *operands), "handle")


def perform(name: str, *operands: Expr) -> Evaluate:
    """The statement that calls an LLVM function for what it does."""
    return Evaluate(invoke(name, *operands))


def invoked(func: PrimFunc) -> frozenset[str]:
    """The names of LLVM's functions that a function calls."""
    roots = (root for statement in walk_stmt(func.body) for root in stmt_exprs(statement))
    calls = (node for root in roots for node in walk_expr(root) if isinstance(node, Call) and node.name == "llvm.call")
    return frozenset(_text(call.args[0]) for call in calls)


def vector_load(kind: str, address: Expr) -> Call:
    """The vector of type ``kind`` that lies at ``address``, aligned like its buffer's elements."""
    return Call("llvm.load", (kind, address), "handle")


def repeated_load(kind: str, element: str, address: Expr) -> Call:
    """A vector of type ``kind`` filled with copies of the ``element`` (such as ``i32``) that lies at ``address``."""
    return Call("llvm.repeat", (kind, element, address), "handle")


def vector_store(address: Expr, value: Expr) -> Evaluate:
    """The statement that stores a value of one of these calls at ``address``."""
    return Evaluate(Call("llvm.store", (address, value), "handle"))


def combine(op: str, x: Expr, y: Expr) -> Call:
    """LLVM's instruction ``op`` (and, or, xor, add, sub, mul, shl) of two integers of these calls, of one type."""
    return Call("llvm.combine", (op, x, y), "handle")


def widen(kind: str, value: Expr, *, signed: bool = False) -> Call:
    """The integers of a value of these calls as those of the wider type ``kind``."""
    return Call("llvm.widen", (kind, "signed" if signed else "unsigned", value), "handle")


def lanes_of(value: Expr, first: int, count: int, step: int = 1) -> Call:
    """The lanes ``first``, ``first + step`` ... of a vector of these calls, so many; with step 0 copies of one."""
    return Call("llvm.lanes", (value, *(IntImm(number, "int64") for number in (first, count, step))), "handle")


def pointer(address: Expr) -> Call:
    """``address`` as an operand."""
    return Call("llvm.pointer", (address,), "handle")


def immediate(kind: str, value: int) -> Call:
    """An integer constant, in all lanes of a vector, as an operand."""
    return Call("llvm.immediate", (kind, IntImm(value, "int64")), "handle")


def constant_bytes(data: bytes) -> Call:
    """The address of a constant, as an operand."""
    return Call("llvm.constant", (data.hex(),), "handle")


def emit(emitter: FunctionEmitter, call: Call) -> Any:
    """LLVM's value of one of the calls above.

    Raises:
        CodegenError: a malformed type, or a call that is none of them.
    """
    b, args = emitter.b, call.args
    if call.name == "llvm.call":
        name, returns, *operands = args
        values = [emitter.expr(_expr(e)) for e in operands]
        result = _type(_text(returns)) if returns else ir.VoidType()
        return b.call(ops.declared(b, _text(name), result, [v.type for v in values]), values)
    if call.name == "llvm.load":
        address, align = _address(emitter, args[1])
        return b.load(address, typ=_type(_text(args[0])), align=align)
    if call.name == "llvm.repeat":
        kind, element = _type(_text(args[0])), _type(_text(args[1]))
        address, align = _address(emitter, args[2])
        value = b.load(address, typ=element, align=align)
        lanes = kind.count * kind.element.width // element.width
        return b.bitcast(ops.splat(b, value, lanes), kind)
    if call.name == "llvm.store":
        address, align = _address(emitter, args[0])
        return b.store(emitter.expr(_expr(args[1])), address, align=align)
    if call.name == "llvm.combine":
        op = _text(args[0])
        if op not in _COMBINE:
            raise CodegenError(f"{emitter.func.name}: {op!r} combines no integers; there are {', '.join(_COMBINE)}")
        return _COMBINE[op](b, emitter.expr(_expr(args[1])), emitter.expr(_expr(args[2])))
    if call.name == "llvm.widen":
        extend = b.sext if args[1] == "signed" else b.zext
        return extend(emitter.expr(_expr(args[2])), _type(_text(args[0])))
    if call.name == "llvm.lanes":
        value, *numbers = args
        first, count, step = (number.value for number in numbers if isinstance(number, IntImm))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), count), [first + step * i for i in range(count)])
        whole = emitter.expr(_expr(value))
        return b.shuffle_vector(whole, ir.Constant(whole.type, ir.Undefined), mask)
    if call.name == "llvm.pointer":
        return _address(emitter, args[0])[0]
    if call.name == "llvm.immediate":
        value = args[1]
        assert isinstance(value, IntImm)
        return ops.number(_type(_text(args[0])), value.value)
    if call.name == "llvm.constant":
        return _constant(emitter, bytes.fromhex(_text(args[0])))
    raise CodegenError(f"{emitter.func.name}: the CPU has no code for intrinsic {call.name!r}")


def _type(text: str) -> Any:
    match = _TYPE.fullmatch(text)
    if text == "ptr":
        return ir.PointerType()
    if match is None:
        raise CodegenError(f"{text!r} is no LLVM type; examples are i8, i64, f32, ptr, v16i32")
    scalar = ir.IntType(int(match[3])) if match[2] == "i" else _FLOATS[int(match[3])]
    return ir.VectorType(scalar, int(match[1])) if match[1] else scalar


def _text(arg: Expr | str) -> str:
    assert isinstance(arg, str)
    return arg


def _expr(arg: Expr | str) -> Expr:
    assert isinstance(arg, Expr)
    return arg


def _address(emitter: FunctionEmitter, arg: Expr | str) -> tuple[Any, int]:
    """The pointer of an ``address_of``, and the alignment of what lies there."""
    if not isinstance(arg, Call) or arg.name != "address_of" or not isinstance(arg.args[0], Load):
        raise CodegenError(f"{emitter.func.name}: {arg} is not the address of a buffer element")
    element = arg.args[0]
    offset = emitter.offset_of(element.buffer, element.indices, True)
    return emitter.pointer(element.buffer, offset), ITEM_BYTES[element.dtype]


def _constant(emitter: FunctionEmitter, data: bytes) -> Any:
    module = emitter.fn.module
    name = f"bytes.{data.hex()}"
    known = module.globals.get(name)
    if known is None:
        ty = ir.ArrayType(ir.IntType(8), len(data))
        made: Any = ir.GlobalVariable(module, ty, name)
        made.initializer = ir.Constant(ty, bytearray(data))
        made.global_constant, made.linkage, made.align = True, "internal", _ALIGN
        made.type = ir.PointerType()  # llvmlite types it as a pointer to the array
        return made
    return known
