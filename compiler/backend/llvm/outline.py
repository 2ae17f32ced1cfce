"""Parallel loops: the body becomes a function, and the thread pool calls it for every iteration.

    void vdla_parallel_for(void (*body)(void *context, int32_t iteration), void *context, int32_t iterations)

is the pool's only entry that generated code needs.  What the body reads from around it, buffers and outer loops'
variables, lies in the context; an inner function gets the buffers as parameters that alias nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import llvmlite.ir as ir

from compiler.backend.llvm import operations as ops
from compiler.ir import Allocate, Buffer, For, Load, Store, Var, stmt_exprs, walk_expr, walk_stmt

if TYPE_CHECKING:
    from compiler.backend.llvm.codegen import FunctionEmitter

PARALLEL_FOR = "vdla_parallel_for"
_I32, _POINTER = ir.IntType(32), ir.PointerType()


def captured(loop: For) -> tuple[list[Buffer], list[Var]]:
    """Buffers and variables from outside that the loop's body uses, in order of first use."""
    buffers: dict[Buffer, None] = {}
    variables: dict[Var, None] = {}
    own_buffers: set[Buffer] = set()
    own_vars: set[Var] = {loop.var}
    for s in walk_stmt(loop.body):
        if isinstance(s, Allocate):
            own_buffers.add(s.buffer)
        elif isinstance(s, For):
            own_vars.add(s.var)
        elif isinstance(s, Store):
            buffers[s.buffer] = None
        for root in stmt_exprs(s):
            for node in walk_expr(root):
                if isinstance(node, Load):
                    buffers[node.buffer] = None
                elif isinstance(node, Var):
                    variables[node] = None
    return [b for b in buffers if b not in own_buffers], [v for v in variables if v not in own_vars]


def emit_parallel(emitter: FunctionEmitter, loop: For) -> None:
    """Emit `loop` at the emitter's position as a call of the pool."""
    buffers, variables = captured(loop)
    module, b = emitter.fn.module, emitter.b
    name = module.get_unique_name(f"{emitter.fn.name}.{loop.var.name}")
    values = [emitter.vars[v] for v in variables]
    inner_type = ir.FunctionType(ir.VoidType(), [_I32, *[v.type for v in values], *[_POINTER] * len(buffers)])
    inner = ir.Function(module, inner_type, f"{name}.body")
    inner.linkage = "internal"
    inner.attributes.add("noinline")
    emitter.set_width(inner)
    for arg in inner.args[1 + len(values) :]:
        if emitter.func.attrs.get("noalias", True):
            arg.add_attribute("noalias")
    own_buffers = dict(zip(map(id, buffers), inner.args[1 + len(values) :], strict=True))
    own_vars = {loop.var: inner.args[0], **dict(zip(variables, inner.args[1:], strict=False))}
    emitter.emit_into(inner, loop.body, own_buffers, own_vars)

    # The context: one slot of eight bytes for each value, in the caller's frame.
    words = [*values, *[emitter.buffers[id(buffer)] for buffer in buffers]]
    slot = ir.IntType(64)
    context = ir.IRBuilder(emitter.entry).alloca(ir.ArrayType(slot, max(len(words), 1)))
    context.type = _POINTER
    task = ir.Function(module, ir.FunctionType(ir.VoidType(), [_POINTER, _I32]), name)
    task.linkage = "internal"
    t = ir.IRBuilder(task.append_basic_block("entry"))
    read = []
    for i, word in enumerate(words):
        b.store(word, b.gep(context, [_number(i)], source_etype=slot), align=8)
        read.append(t.load(t.gep(task.args[0], [_number(i)], source_etype=slot), typ=word.type, align=8))
    t.call(inner, [task.args[1], *read])
    t.ret_void()
    pool = ops.declared(b, PARALLEL_FOR, ir.VoidType(), [_POINTER, _POINTER, _I32])
    b.call(pool, [task, context, ir.Constant(_I32, loop.extent)])


def _number(value: int) -> ir.Constant:
    return ir.Constant(_I32, value)
