"""One loop-IR function as LLVM IR.

Loops are counted, bottom-tested (extents are known and positive).  A ``vectorized`` loop of 2 to 16, of 32 or of 64
iterations becomes vector instructions where that is safe (see :mod:`compiler.backend.llvm.vectorize`), else a plain
loop that LLVM may vectorise; ``unrolled`` loops are written out; if the function's attribute ``parallel`` is set,
outermost ``parallel`` loops run on the thread pool (see :mod:`compiler.backend.llvm.outline`); all other kinds run
serially.
A serial loop may ask for what its next iterations read (see :mod:`compiler.backend.llvm.prefetch`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.ir as ir

from compiler.arith import Bounds
from compiler.backend.llvm import intrinsics, structures
from compiler.backend.llvm import operations as ops
from compiler.backend.llvm.machine import Machine
from compiler.backend.llvm.operations import Builder, Value, number
from compiler.backend.llvm.outline import emit_parallel
from compiler.backend.llvm.prefetch import emit_prefetch
from compiler.backend.llvm.vectorize import can_widen, depends_on, reads_by_remainder, speculatable, stride_of
from compiler.errors import CodegenError
from compiler.ir import (
    COMPARE_OPS,
    FLOAT_DTYPES,
    INT_DTYPES,
    ITEM_BYTES,
    LOGIC_OPS,
    Allocate,
    Attr,
    Binary,
    Buffer,
    Call,
    Cast,
    Evaluate,
    Expr,
    FloatImm,
    For,
    If,
    IntImm,
    Load,
    Not,
    PrimFunc,
    Select,
    Seq,
    Stmt,
    Store,
    Var,
)

STACK_BYTES = 64 * 1024  # of all buffers of a function together; what does not fit comes from malloc
UNROLL_LIMIT = 256  # copies of a body, nested unrolled loops together; beyond it they stay loops
_ALIGN = 64
_STEPS = ("add", "sub", "mul")
_POINTER = ir.PointerType()


class FunctionEmitter:
    """Emits the body of one function into an LLVM module."""

    def __init__(self, module: Any, func: PrimFunc, machine: Machine) -> None:
        self.func = func
        self.offset = ir.IntType(machine.index_bits)
        self.contract: tuple[str, ...] = ("contract",) if func.attrs.get("contract", True) else ()
        self.bounds = Bounds()
        self.vars: dict[Var, Value] = {}
        self.buffers: dict[int, Value] = {}
        self.memo: dict[Expr, Value] = {}
        self.wide: tuple[Var, int] | None = None  # the vectorized variable in force, and its lanes
        self.stack_left = STACK_BYTES
        self.copies = 1
        self.heap: list[Value] = []
        self.fn = ir.Function(module, ir.FunctionType(ir.VoidType(), [_POINTER] * len(func.params)), func.name)
        self.fn.attributes.add("noinline")  # a caller would get all its kernels' stacks, and lose what noalias says
        for arg, buffer in zip(self.fn.args, func.params, strict=True):
            arg.name = buffer.name
            if func.attrs.get("noalias", True):
                arg.add_attribute("noalias")
            self.buffers[id(buffer)] = arg
        self.parallel = not func.attrs.get("parallel", False)  # parallel loops run serially here
        self.vector_bits = machine.vector_bits
        # ARM has instructions that store structures, and for a maximum or minimum that is NaN where an operand is.
        self.arm = machine.triple.startswith(("aarch64", "arm"))
        self.scalar = reads_by_remainder(func.body)
        self.set_width(self.fn)
        self.entry = self.fn.append_basic_block("entry")
        body = self.fn.append_basic_block("body")
        self.b: Builder = ir.IRBuilder(body)

    def set_width(self, fn: Any) -> None:
        """Let LLVM use the machine's whole vectors in a function, where it may make any."""
        if self.scalar:
            fn.attributes.add("noimplicitfloat")  # no vectors but those of the schedule
        for width in ("prefer-vector-width", "min-legal-vector-width"):
            # llvmlite's set accepts only the attributes it knows; without these LLVM halves AVX-512 vectors
            set.add(fn.attributes, f'"{width}"="{self.vector_bits}"')

    def emit(self) -> None:
        self.body(self.func.body)

    def body(self, body: Stmt) -> None:
        """The statements of the function, from its second block on, and its end."""
        self.stmt(body)
        for address in self.heap:
            self.b.call(ops.declared(self.b, "free", ir.VoidType(), [_POINTER]), [address])
        self.b.ret_void()
        ir.IRBuilder(self.entry).branch(self.fn.basic_blocks[1])

    def emit_into(self, fn: Any, body: Stmt, buffers: dict[int, Value], variables: dict[Var, Value]) -> None:
        """Emit the body of a parallel loop as the body of ``fn``, which has these buffers and variables."""
        kept = self.fn, self.entry, self.b, self.buffers, self.vars, self.heap, self.stack_left
        self.fn, self.buffers, self.vars, self.heap = fn, buffers, variables, []
        self.entry = fn.append_basic_block("entry")
        self.b = ir.IRBuilder(fn.append_basic_block("body"))
        self.stack_left, self.memo, self.parallel = STACK_BYTES, {}, True
        self.body(body)
        self.fn, self.entry, self.b, self.buffers, self.vars, self.heap, self.stack_left = kept
        self.memo, self.parallel = {}, False

    # ------------------------------------------------------------------ statements

    def stmt(self, s: Stmt) -> None:
        if isinstance(s, Seq):
            self.sequence(s.stmts)
        elif isinstance(s, For):
            self.loop(s)
        elif isinstance(s, Store):
            self.memo = {}
            self.store(s)
        elif isinstance(s, If):
            self.memo = {}
            cond = self.expr(s.cond)
            if s.otherwise is None:
                with self.b.if_then(cond):
                    self.stmt(s.then)
            else:
                with self.b.if_else(cond) as (then, otherwise):
                    with then:
                        self.stmt(s.then)
                    with otherwise:
                        self.stmt(s.otherwise)
        elif isinstance(s, Allocate):
            self.buffers[id(s.buffer)] = self.allocate(s.buffer)
            self.stmt(s.body)
        elif isinstance(s, Attr):
            self.stmt(s.body)
        elif isinstance(s, Evaluate):
            self.memo = {}
            if not isinstance(s.value, Call):
                raise CodegenError(f"{self.func.name}: the CPU has no code for intrinsic {str(s.value)!r}")
            if "." in s.value.name:
                intrinsics.emit(self, s.value)
        else:
            raise CodegenError(f"{self.func.name}: no code for {type(s).__name__}")

    def sequence(self, stmts: Sequence[Stmt]) -> None:
        """Statements one after the other."""
        at = 0
        while at < len(stmts):
            together = structures.members(stmts[at:]) if self.arm and self.wide is None else []
            if together:
                structures.emit(self, together)
            else:
                self.stmt(stmts[at])
            at += max(1, len(together))

    @contextmanager
    def in_lanes(self, s: For) -> Iterator[None]:
        """Inside, all iterations of a loop are computed at once."""
        self.bounds.env[s.var] = (0, s.extent - 1)
        self.vars[s.var] = ir.Constant(ir.VectorType(ops.scalar_type(s.var.dtype), s.extent), list(range(s.extent)))
        self.wide = (s.var, s.extent)
        yield
        self.wide = None

    def loop(self, s: For) -> None:
        self.bounds.env[s.var] = (0, s.extent - 1)
        ty = ops.scalar_type(s.var.dtype)
        if s.extent == 1:
            self.vars[s.var] = ir.Constant(ty, 0)
            self.stmt(s.body)
            return
        if s.kind == "parallel" and not self.parallel and self.wide is None:
            emit_parallel(self, s)
            return
        if s.kind == "vectorized" and self.wide is None and can_widen(s):
            with self.in_lanes(s):
                self.stmt(s.body)
            return
        if s.kind == "unrolled" and s.extent * self.copies <= UNROLL_LIMIT:
            self.copies *= s.extent
            for i in range(s.extent):
                self.vars[s.var] = ir.Constant(ty, i)
                self.stmt(s.body)
            self.copies //= s.extent
            return
        before = self.b.block
        body = self.fn.append_basic_block(f"loop.{s.var.name}")
        self.b.branch(body)
        self.b.position_at_end(body)
        counter = self.b.phi(ty, s.var.name)
        counter.add_incoming(ir.Constant(ty, 0), before)
        self.vars[s.var] = counter
        emit_prefetch(self, s)
        self.stmt(s.body)
        following = self.b.add(counter, ir.Constant(ty, 1), flags=("nuw", "nsw"))
        counter.add_incoming(following, self.b.block)
        after = self.fn.append_basic_block(f"end.{s.var.name}")
        self.b.cbranch(self.b.icmp_signed("<", following, ir.Constant(ty, s.extent)), body, after)
        self.b.position_at_end(after)

    def allocate(self, buffer: Buffer) -> Value:
        """Memory for a local buffer, taken once at the function's entry."""
        entry = ir.IRBuilder(self.entry)
        size = max(buffer.nbytes, 1)
        if size <= self.stack_left:
            self.stack_left -= size
            slot = entry.alloca(ir.ArrayType(ops.memory_type(buffer.dtype), max(buffer.elements, 1)), name=buffer.name)
            slot.align = _ALIGN  # pyright: ignore[reportAttributeAccessIssue]
            slot.type = _POINTER  # llvmlite types it as a pointer to the array
            return slot
        malloc = ops.declared(entry, "malloc", _POINTER, [self.offset])
        address = entry.call(malloc, [ir.Constant(self.offset, size + _ALIGN)])
        self.heap.append(address)
        bumped = entry.add(entry.ptrtoint(address, self.offset), ir.Constant(self.offset, _ALIGN - 1))
        return entry.inttoptr(entry.and_(bumped, ir.Constant(self.offset, -_ALIGN)), _POINTER, name=buffer.name)

    # ------------------------------------------------------------------ memory

    def offset_of(self, buffer: Buffer, indices: Sequence[Expr], scalar: bool) -> Value:
        """Element offset; ``scalar``: of the first lane only."""
        total: Value | None = None
        for index, stride in zip(indices, buffer.dense_strides, strict=True):
            value = self.address(index) if scalar and self.trusted(index) else self.expr(index)
            lanes = ops.lanes_of(value)
            if scalar and lanes:
                value, lanes = self.b.extract_element(value, ir.Constant(ir.IntType(32), 0)), 0
            ty = ops.with_lanes(self.offset, lanes)
            if ops.bits_of(value) < self.offset.width:
                value = self.b.sext(value, ty)
            elif ops.bits_of(value) > self.offset.width:
                value = self.b.trunc(value, ty)
            if stride != 1:
                value = self.b.mul(value, number(ty, stride), flags=("nsw",))
            if total is None:
                total = value
            else:
                both = max(lanes, ops.lanes_of(total))
                total = self.b.add(ops.splat(self.b, total, both), ops.splat(self.b, value, both), flags=("nsw",))
        return ir.Constant(self.offset, 0) if total is None else total

    def address(self, e: Expr) -> Value:
        """An index that never wraps, of the first lane, in as many bits as an address has: what loops add to it then
        becomes a step of the address."""
        if isinstance(e, IntImm):
            return ir.Constant(self.offset, e.value)
        if self.wide is not None and e is self.wide[0]:
            return ir.Constant(self.offset, 0)
        if isinstance(e, Binary) and e.op in _STEPS and e.dtype == "int32":
            a, b = self.address(e.a), self.address(e.b)
            if e.op != "mul" and isinstance(b, ir.Constant) and b.constant == 0:
                return a
            return getattr(self.b, e.op)(a, b, flags=("nsw",))
        value = self.expr(e)
        if ops.lanes_of(value):
            value = self.b.extract_element(value, ir.Constant(ir.IntType(32), 0))
        return self.b.sext(value, self.offset) if ops.bits_of(value) < self.offset.width else value

    def filled(self, ty: Any, value: Expr) -> Value:
        """The address of a constant of type ``ty`` all of whose elements are ``value``."""
        assert isinstance(value, (IntImm, FloatImm))
        name = f"filled.{value.dtype}.{getattr(ty, 'count', 1)}.{value.value}"
        known = self.fn.module.globals.get(name)
        if known is None:
            known = ir.GlobalVariable(self.fn.module, ty, name)
            known.initializer = number(ty, value.value)
            known.global_constant, known.linkage = True, "internal"
            known.type = _POINTER  # as above
        return known

    def pointer(self, buffer: Buffer, offset: Value, inbounds: bool = True) -> Value:
        base = self.buffers.get(id(buffer))
        if base is None:
            raise CodegenError(
                f"{self.func.name}: buffer {buffer.name} is neither a parameter nor allocated around its use"
            )
        return self.b.gep(base, [offset], inbounds=inbounds, source_etype=ops.memory_type(buffer.dtype))

    def guardable(self, e: Select) -> bool:
        """True for an element or a constant where one address can be chosen instead: padding, without a branch."""
        load = e.true_value
        return (
            isinstance(load, Load)
            and isinstance(e.false_value, (IntImm, FloatImm))
            and load.dtype != "bool"
            and not self.is_wide(e.cond)
            and speculatable(e.cond)
            and all(speculatable(index) for index in load.indices)
            and self.lane_stride(load.buffer, load.indices) in (0, 1)
        )

    def load(self, e: Load, guard: tuple[Value, Expr] | None = None) -> Value:
        """The element or vector; ``guard``: a condition and what is read instead where it is false."""
        ty, align = ops.memory_type(e.dtype), ITEM_BYTES[e.dtype]
        stride = self.lane_stride(e.buffer, e.indices)
        if stride == 0 or stride == 1:
            read = ir.VectorType(ty, self.lanes) if stride else ty
            address = self.pointer(e.buffer, self.offset_of(e.buffer, e.indices, True), inbounds=guard is None)
            if guard is not None:
                address = self.b.select(guard[0], address, self.filled(read, guard[1]))
            out = self.b.load(address, typ=read, align=align)
        else:
            offsets = self.offset_of(e.buffer, e.indices, False)
            out = ir.Constant(ir.VectorType(ty, self.lanes), ir.Undefined)
            for at in self.lane_numbers():
                address = self.pointer(e.buffer, self.b.extract_element(offsets, at))
                out = self.b.insert_element(out, self.b.load(address, typ=ty, align=align), at)
        return self.b.icmp_unsigned("!=", out, number(out.type, 0)) if e.dtype == "bool" else out

    def store(self, s: Store) -> None:
        value = self.expr(s.value)
        align, dtype = ITEM_BYTES[s.buffer.dtype], s.buffer.dtype
        stride = self.lane_stride(s.buffer, s.indices)
        if dtype == "bool":
            value = self.b.zext(value, ops.with_lanes(ir.IntType(8), ops.lanes_of(value)))
        if stride == 0:
            self.b.store(value, self.pointer(s.buffer, self.offset_of(s.buffer, s.indices, True)), align=align)
            return
        value = ops.splat(self.b, value, self.lanes)
        if stride == 1:
            self.b.store(value, self.pointer(s.buffer, self.offset_of(s.buffer, s.indices, True)), align=align)
            return
        offsets = self.offset_of(s.buffer, s.indices, False)
        for at in self.lane_numbers():
            address = self.pointer(s.buffer, self.b.extract_element(offsets, at))
            self.b.store(self.b.extract_element(value, at), address, align=align)

    @property
    def lanes(self) -> int:
        return 0 if self.wide is None else self.wide[1]

    def lane_numbers(self) -> list[Value]:
        return [ir.Constant(ir.IntType(32), i) for i in range(self.lanes)]

    def lane_stride(self, buffer: Buffer, indices: Sequence[Expr]) -> int | None:
        """Elements from one lane to the next; 0: all lanes (or no lanes) at one place; None: anything."""
        return 0 if self.wide is None else stride_of(buffer, indices, self.wide[0])

    # ------------------------------------------------------------------ expressions

    def expr(self, e: Expr) -> Value:
        hit = self.memo.get(e)
        if hit is None:
            hit = self.memo[e] = self.compute(e)
        return hit

    def operands(self, *exprs: Expr) -> list[Value]:
        """The values, all made vectors if one is."""
        values: list[Value] = []
        for e in exprs:  # a comprehension would cost a stack frame a level of the expression
            values.append(self.expr(e))
        lanes = max(map(ops.lanes_of, values))
        return [ops.splat(self.b, v, lanes) for v in values]

    def compute(self, e: Expr) -> Value:
        if isinstance(e, (IntImm, FloatImm)):
            return ir.Constant(ops.scalar_type(e.dtype), e.value)
        if isinstance(e, Var):
            value = self.vars.get(e)
            if value is None:
                raise CodegenError(f"{self.func.name}: variable {e.name} has no value here")
            return value
        if isinstance(e, Binary):
            return self.binary(e)
        if isinstance(e, Load):
            return self.load(e)
        if isinstance(e, Cast):
            return ops.convert(self.b, self.expr(e.value), e.value.dtype, e.dtype, fits=ops.is_clamped(e))
        if isinstance(e, Not):
            return self.b.not_(self.expr(e.a))
        if isinstance(e, Select):
            if isinstance(e.true_value, Load) and self.guardable(e):
                return self.load(e.true_value, (self.expr(e.cond), e.false_value))
            if self.arm and e.dtype == "float32" and (name := ops.extremum(e)):
                x, y = self.operands(e.true_value, e.false_value)
                return ops.intrinsic(self.b, name, x.type, x, y)
            if speculatable(e.true_value, e.cond) and speculatable(e.false_value, e.cond):
                return (
                    self.b.select(*self.operands(e.cond, e.true_value, e.false_value))
                    if self.is_wide(e.cond)
                    else (self.b.select(self.expr(e.cond), *self.operands(e.true_value, e.false_value)))
                )
            return self.branch(e.cond, e.true_value, e.false_value)
        if isinstance(e, Call):
            if "." in e.name:
                return intrinsics.emit(self, e)
            if e.name == "address_of" or any(isinstance(a, str) for a in e.args):
                raise CodegenError(f"{self.func.name}: the CPU has no code for intrinsic {e.name!r}")
            return ops.function(self.b, e.name, e.dtype, self.operands(*e.children))
        raise CodegenError(f"{self.func.name}: no code for {type(e).__name__}")

    def is_wide(self, e: Expr) -> bool:
        return self.wide is not None and depends_on(e, self.wide[0])

    def binary(self, e: Binary) -> Value:
        if e.op in LOGIC_OPS:
            if speculatable(e.b, e.a):
                x, y = self.operands(e.a, e.b)
                return self.b.and_(x, y) if e.op == "and" else self.b.or_(x, y)
            if e.op == "and":
                return self.branch(e.a, e.b, IntImm(0, "bool"))
            return self.branch(e.a, IntImm(1, "bool"), e.b)
        x, y = self.operands(e.a, e.b)
        dtype = e.a.dtype
        if e.op in COMPARE_OPS:
            return ops.compare(self.b, e.op, dtype, x, y)
        if self.arm and dtype == "float32" and e.op in ("min", "max"):
            return ops.intrinsic(self.b, f"{e.op}imum", x.type, x, y)
        flags: tuple[str, ...] = ()
        never_negative = False
        if dtype in FLOAT_DTYPES:
            flags = self.contract
        elif e.op in ("add", "sub", "mul") and dtype in ("int32", "int64") and self.fits(e):
            flags = ("nsw",)
        elif e.op in ("floordiv", "floormod") and dtype in INT_DTYPES:
            never_negative = self.bounds.of(e.a)[0] >= 0 and self.trusted(e.a)
        return ops.arithmetic(self.b, e.op, dtype, x, y, flags, never_negative)

    def fits(self, e: Expr) -> bool:
        """Proved, not assumed: the mathematical result lies inside the type."""
        lo, hi = self.bounds.of(e)
        limit = 2.0 ** (31 if e.dtype == "int32" else 63)
        return -limit <= lo and hi < limit and self.trusted(e)

    def trusted(self, e: Expr) -> bool:
        """Every sum and product in ``e`` stays inside its type.  (Analysis of indices takes that for granted; the
        code must not: what wraps must wrap.)"""
        stack, seen = [e], set()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if isinstance(node, Binary) and node.dtype in INT_DTYPES:
                lo, hi = self.bounds.of(node)
                limit = 2.0 ** (8 * ITEM_BYTES[node.dtype] - 1)
                if not (self.bounds.exact(node) and -limit <= lo and hi < limit):
                    return False
            stack.extend(node.children if not isinstance(node, Load) else ())
        return True

    def branch(self, cond: Expr, yes: Expr, no: Expr) -> Value:
        """A value of which only the chosen side is computed."""
        test = self.expr(cond)
        before = self.memo
        parts: list[tuple[Value, Any]] = []
        with self.b.if_else(test) as (then, otherwise):
            for block, side in ((then, yes), (otherwise, no)):
                with block:
                    self.memo = dict(before)  # what one side computes the other has not
                    value = self.expr(side)
                    if self.is_wide(yes) or self.is_wide(no):
                        value = ops.splat(self.b, value, self.lanes)
                    parts.append((value, self.b.block))
        self.memo = before
        out = self.b.phi(parts[0][0].type)
        for value, block in parts:
            out.add_incoming(value, block)
        return out
