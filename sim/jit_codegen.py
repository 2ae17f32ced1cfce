"""LLVM IR from the Python subset of `sim.jit`: one pass over each kernel's syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from enum import EnumMeta
from typing import Any

from llvmlite import ir

from sim.jit import Kernel, KernelError

Value = Any
"""An IR value; llvmlite's builder is not typed."""

_I1, _I32, _I64, _F32 = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
_ELEMENTS = {"I8": ir.IntType(8), "U8": ir.IntType(8), "I32": _I32, "I64": _I64, "F32": _F32}
_RANK = {_I1: 0, _I32: 1, _I64: 2, _F32: 3}
_COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_FOLD: dict[type, Any] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.LShift: lambda a, b: a << b,
    ast.RShift: lambda a, b: a >> b,
    ast.BitAnd: lambda a, b: a & b,
    ast.BitOr: lambda a, b: a | b,
    ast.BitXor: lambda a, b: a ^ b,
}


def generate(kernels: list[Kernel], exported: set[str], constants: Mapping[str, int], triple: str) -> str:
    """LLVM IR text of `kernels`; those not in `exported` are internal."""
    module = ir.Module(name="sim")
    module.triple = triple
    functions: dict[str, ir.Function] = {}
    for item in kernels:
        types = [_ELEMENTS[kind].as_pointer() if kind in _ELEMENTS else _I64 for _, kind in item.parameters]
        function = ir.Function(module, ir.FunctionType(_I64, types), item.name)
        if item.name not in exported:
            function.linkage = "internal"
        for argument, (name, kind) in zip(function.args, item.parameters, strict=True):
            argument.name = name
            if kind in _ELEMENTS:
                argument.add_attribute("noalias")
        functions[item.name] = function
    for item in kernels:
        _Generator(item, functions, constants).run()
    text = str(module)
    # llvmlite has no way to set string attributes; without this one LLVM would keep to half-width vectors.
    return text.replace("\n{\n", ' "prefer-vector-width"="512" nounwind\n{\n')


class _Generator:
    """Code of one kernel. Values are Python ints and bools (compile time) or IR values (run time)."""

    def __init__(self, item: Kernel, functions: Mapping[str, ir.Function], constants: Mapping[str, int]):
        self.item, self.functions, self.constants = item, functions, constants
        self.function = functions[item.name]
        self.module = self.function.module
        self.namespace = item.tree.args.args[0].arg
        self.pointers: dict[str, tuple[Value, str]] = {}
        self.locals: dict[str, Any] = {}
        self.static: dict[str, int] = {}
        self.loops: list[tuple[ir.Block, ir.Block]] = []
        self.entry = self.function.append_basic_block("entry")
        self.b: Any = ir.IRBuilder(self.function.append_basic_block("body"))

    def fail(self, node: ast.AST, text: str) -> KernelError:
        return KernelError(f"kernel {self.item.name}, line {getattr(node, 'lineno', 0)}: {text}")

    def run(self) -> None:
        first = self.b.block
        for argument, (name, kind) in zip(self.function.args, self.item.parameters, strict=True):
            if kind in _ELEMENTS:
                self.pointers[name] = (argument, kind)
            else:
                self.assign_name(name, argument)
        self.block(self.item.tree.body)
        if not self.b.block.is_terminated:
            self.b.ret(_I64(0))
        ir.IRBuilder(self.entry).branch(first)

    # ------------------------------------------------------------------ statements

    def block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if self.b.block.is_terminated:
                return
            method = getattr(self, "do_" + type(statement).__name__, None)
            if method is None:
                raise self.fail(statement, f"{type(statement).__name__} is not in the subset")
            method(statement)

    def do_Pass(self, node: ast.Pass) -> None:
        del node

    def do_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.value(node.value)

    def do_Return(self, node: ast.Return) -> None:
        self.b.ret(self.cast(self.value(node.value) if node.value else 0, _I64))

    def do_Break(self, node: ast.Break) -> None:
        del node
        self.b.branch(self.loops[-1][1])

    def do_Continue(self, node: ast.Continue) -> None:
        del node
        self.b.branch(self.loops[-1][0])

    def do_Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        self.assign(target, self.value(node.value))

    def do_AugAssign(self, node: ast.AugAssign) -> None:
        old = self.value(ast.copy_location(_as_load(node.target), node))
        self.assign(node.target, self.binary(node, node.op, old, self.value(node.value)))

    def assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.assign_name(target.id, value)
        elif isinstance(target, ast.Subscript):
            pointer, kind, lanes = self.address(target)
            element = _ELEMENTS[kind]
            wide = ir.VectorType(element, lanes) if lanes else element
            self.b.store(self.cast(value, wide), pointer, align=_bytes(element))
        else:
            raise self.fail(target, "only names and array elements can be assigned")

    def assign_name(self, name: str, value: Any) -> None:
        if name in self.static:
            raise KernelError(f"kernel {self.item.name}: {name} is an unrolled loop's variable")
        if name not in self.locals:
            kind = _I64 if isinstance(value, int) else value.type
            entry = ir.IRBuilder(self.entry)
            self.locals[name] = entry.alloca(_I32 if kind == _I1 else kind, name=name)
        slot = self.locals[name]
        self.b.store(self.cast(value, slot.allocated_type), slot)

    def do_If(self, node: ast.If) -> None:
        condition = self.value(node.test)
        if isinstance(condition, int):
            self.block(node.body if condition else node.orelse)
            return
        then, other, after = (self.function.append_basic_block(n) for n in ("then", "else", "endif"))
        self.b.cbranch(self.truth(condition), then, other)
        for start, body in ((then, node.body), (other, node.orelse)):
            self.b.position_at_end(start)
            self.block(body)
            if not self.b.block.is_terminated:
                self.b.branch(after)
        self.b.position_at_end(after)

    def do_While(self, node: ast.While) -> None:
        head, body, after = (self.function.append_basic_block(n) for n in ("while", "do", "done"))
        self.b.branch(head)
        self.b.position_at_end(head)
        self.b.cbranch(self.truth(self.value(node.test)), body, after)
        self.loop(node.body, body, head, after, head)

    def do_For(self, node: ast.For) -> None:
        if not (isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name)):
            raise self.fail(node, "for needs range() or unroll()")
        if not isinstance(node.target, ast.Name):
            raise self.fail(node, "for needs a plain variable")
        bounds = [self.value(a) for a in node.iter.args]
        name = node.target.id
        if node.iter.func.id == "unroll":
            for value in range(*bounds):
                self.static[name] = value
                self.block(node.body)
            self.static.pop(name, None)
            return
        start, stop, step = {1: (0, *bounds, 1), 2: (*bounds, 1), 3: tuple(bounds)}[len(bounds)]
        if not isinstance(step, int) or step <= 0:
            raise self.fail(node, "range() needs a constant positive step")
        stop = self.cast(stop, _I64)
        self.assign_name(name, self.cast(start, _I64))
        head, body, advance, after = (self.function.append_basic_block(n) for n in ("for", "do", "next", "done"))
        self.b.branch(head)
        self.b.position_at_end(head)
        slot = self.locals[name]
        self.b.cbranch(self.b.icmp_signed("<", self.b.load(slot), stop), body, after)
        self.loop(node.body, body, advance, after, advance)
        self.b.position_at_end(advance)
        self.b.store(self.b.add(self.b.load(slot), _I64(step)), slot)
        self.b.branch(head)
        self.b.position_at_end(after)

    def loop(self, body: list[ast.stmt], start: ir.Block, again: ir.Block, after: ir.Block, end: ir.Block) -> None:
        self.b.position_at_end(start)
        self.loops.append((again, after))
        self.block(body)
        self.loops.pop()
        if not self.b.block.is_terminated:
            self.b.branch(end)
        self.b.position_at_end(after)

    # ------------------------------------------------------------------ expressions

    def value(self, node: ast.expr) -> Any:
        method = getattr(self, "of_" + type(node).__name__, None)
        if method is None:
            raise self.fail(node, f"{type(node).__name__} is not in the subset")
        return method(node)

    def of_Constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, int):
            raise self.fail(node, f"constant {node.value!r}")
        return int(node.value)

    def of_Name(self, node: ast.Name) -> Any:
        if node.id in self.static:
            return self.static[node.id]
        if node.id in self.locals:
            return self.b.load(self.locals[node.id])
        value = self.item.scope.get(node.id)
        if isinstance(value, int):
            return int(value)
        raise self.fail(node, f"unknown name {node.id}")

    def of_Attribute(self, node: ast.Attribute) -> int:
        if isinstance(node.value, ast.Name):
            if node.value.id == self.namespace:
                return int(self.constants[node.attr])
            owner = self.item.scope.get(node.value.id)
            if isinstance(owner, EnumMeta):
                return int(getattr(owner, node.attr))
        raise self.fail(node, f"unknown attribute {ast.unparse(node)}")

    def of_Subscript(self, node: ast.Subscript) -> Any:
        pointer, kind, lanes = self.address(node)
        element = _ELEMENTS[kind]
        target = ir.VectorType(_I32, lanes) if lanes else _I32
        value = self.b.load(pointer, align=_bytes(element))
        if isinstance(element, ir.IntType) and element.width == 8:
            return self.b.zext(value, target) if kind == "U8" else self.b.sext(value, target)
        return value

    def address(self, node: ast.Subscript) -> tuple[Value, str, int]:
        """Pointer to the element or vector, the array's kind, and the number of lanes (0: one element)."""
        if not isinstance(node.value, ast.Name) or node.value.id not in self.pointers:
            raise self.fail(node, f"{ast.unparse(node.value)} is not an array")
        base, kind = self.pointers[node.value.id]
        lanes = 0
        index = node.slice
        if isinstance(index, ast.Slice):
            upper, lower = index.upper, index.lower
            if not (isinstance(upper, ast.BinOp) and isinstance(upper.op, ast.Add) and lower is not None):
                raise self.fail(node, "a slice must be written [i : i + n]")
            if ast.dump(upper.left) != ast.dump(lower):
                raise self.fail(node, "a slice must be written [i : i + n] with the same i")
            lanes = self.value(upper.right)
            if not isinstance(lanes, int):
                raise self.fail(node, "a slice needs a constant length")
            index = lower
        pointer = self.b.gep(base, [self.cast(self.value(index), _I64)])
        if lanes:
            pointer = self.b.bitcast(pointer, ir.VectorType(_ELEMENTS[kind], lanes).as_pointer())
        return pointer, kind, lanes

    def of_UnaryOp(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return (not value) if isinstance(value, int) else self.b.not_(self.truth(value))
        if isinstance(node.op, ast.USub):
            return -value if isinstance(value, int) else self.binary(node, ast.Sub(), 0, value)
        if isinstance(node.op, ast.Invert):
            return ~value if isinstance(value, int) else self.b.not_(value)
        raise self.fail(node, "unary operator")

    def of_BinOp(self, node: ast.BinOp) -> Any:
        return self.binary(node, node.op, self.value(node.left), self.value(node.right))

    def binary(self, node: ast.AST, operator: ast.operator, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            return _FOLD[type(operator)](left, right)
        left, right = self.unify(left, right)
        if _scalar(left.type) == _F32:
            action = {ast.Add: self.b.fadd, ast.Sub: self.b.fsub, ast.Mult: self.b.fmul}.get(type(operator))
            if action is None:
                raise self.fail(node, "floating-point operator")
            return action(left, right, flags=("fast",))
        if isinstance(operator, ast.FloorDiv | ast.Mod):
            return self.floor_division(operator, left, right)
        action = {
            ast.Add: self.b.add,
            ast.Sub: self.b.sub,
            ast.Mult: self.b.mul,
            ast.LShift: self.b.shl,
            ast.RShift: self.b.ashr,
            ast.BitAnd: self.b.and_,
            ast.BitOr: self.b.or_,
            ast.BitXor: self.b.xor,
        }.get(type(operator))
        if action is None:
            raise self.fail(node, "operator")
        return action(left, right)

    def floor_division(self, operator: ast.operator, left: Value, right: Value) -> Value:
        zero = ir.Constant(left.type, 0 if isinstance(left.type, ir.IntType) else None)
        remainder = self.b.srem(left, right)
        odd = self.b.and_(
            self.b.icmp_signed("!=", remainder, zero), self.b.icmp_signed("<", self.b.xor(remainder, right), zero)
        )
        if isinstance(operator, ast.Mod):
            return self.b.select(odd, self.b.add(remainder, right), remainder)
        return self.b.sub(self.b.sdiv(left, right), self.b.zext(odd, left.type))

    def of_Compare(self, node: ast.Compare) -> Any:
        if len(node.ops) != 1:
            raise self.fail(node, "chained comparison")
        sign = _COMPARE[type(node.ops[0])]
        left, right = self.value(node.left), self.value(node.comparators[0])
        if isinstance(left, int) and isinstance(right, int):
            return _compare(sign, left, right)
        left, right = self.unify(left, right)
        if _scalar(left.type) == _F32:
            return self.b.fcmp_ordered(sign, left, right)
        return self.b.icmp_signed(sign, left, right)

    def of_BoolOp(self, node: ast.BoolOp) -> Any:
        conjunction = isinstance(node.op, ast.And)
        dynamic: list[ast.expr] = []
        for index, part in enumerate(node.values):
            value = self.value(part) if _is_static(part, self) else None
            if value is None:
                dynamic = node.values[index:]
                break
            if bool(value) != conjunction:
                return int(not conjunction)
        if not dynamic:
            return int(conjunction)
        after = self.function.append_basic_block("bool")
        incoming: list[tuple[Value, Any]] = []
        for part in dynamic[:-1]:
            test = self.truth(self.value(part))
            incoming.append((_I1(not conjunction), self.b.block))
            more = self.function.append_basic_block("more")
            self.b.cbranch(test, *((more, after) if conjunction else (after, more)))
            self.b.position_at_end(more)
        incoming.append((self.truth(self.value(dynamic[-1])), self.b.block))
        self.b.branch(after)
        self.b.position_at_end(after)
        phi = self.b.phi(_I1)
        for value, block in incoming:
            phi.add_incoming(value, block)
        return phi

    def of_IfExp(self, node: ast.IfExp) -> Any:
        condition = self.value(node.test)
        if isinstance(condition, int):
            return self.value(node.body if condition else node.orelse)
        then, other, after = (self.function.append_basic_block(n) for n in ("then", "else", "endif"))
        self.b.cbranch(self.truth(condition), then, other)
        self.b.position_at_end(then)
        left = self.value(node.body)
        then_end = self.b.block
        self.b.position_at_end(other)
        right = self.value(node.orelse)
        other_end = self.b.block
        kind = self.common(left, right)
        self.b.position_at_end(then_end)
        left = self.cast(left, kind)
        self.b.branch(after)
        self.b.position_at_end(other_end)
        right = self.cast(right, kind)
        self.b.branch(after)
        self.b.position_at_end(after)
        phi = self.b.phi(kind)
        phi.add_incoming(left, then_end)
        phi.add_incoming(right, other_end)
        return phi

    def of_Call(self, node: ast.Call) -> Any:
        if not isinstance(node.func, ast.Name):
            raise self.fail(node, "call")
        name = node.func.id
        callee = self.item.scope.get(name)
        if isinstance(callee, Kernel):
            arguments = []
            for argument, (_, kind) in zip(node.args[1:], callee.parameters, strict=True):
                if kind in _ELEMENTS:
                    if not isinstance(argument, ast.Name):
                        raise self.fail(node, "arrays are passed by name")
                    arguments.append(self.pointers[argument.id][0])
                else:
                    arguments.append(self.cast(self.value(argument), _I64))
            return self.b.call(self.functions[callee.name], arguments)
        if name == "invoke":
            return self.invoke(node)
        values = [self.value(a) for a in node.args]
        if name in ("min", "max"):
            result = values[0]
            for value in values[1:]:
                if isinstance(result, int) and isinstance(value, int):
                    result = min(result, value) if name == "min" else max(result, value)
                    continue
                left, right = self.unify(result, value)
                sign = "<" if name == "min" else ">"
                result = self.b.select(self.b.icmp_signed(sign, left, right), left, right)
            return result
        if name in ("i32", "i64", "f32"):
            element = {"i32": _I32, "i64": _I64, "f32": _F32}[name]
            value = values[0]
            if not isinstance(value, int) and isinstance(value.type, ir.VectorType):
                return self.cast(value, ir.VectorType(element, value.type.count))
            return self.cast(value, element)
        if name == "lane":
            return self.b.extract_element(values[0], _I32(values[1]))
        if name == "total":
            vector = values[0]
            kind = f"llvm.vector.reduce.add.v{vector.type.count}i{vector.type.element.width}"
            intrinsic = self.module.globals.get(kind)
            if intrinsic is None:
                intrinsic = ir.Function(self.module, ir.FunctionType(vector.type.element, [vector.type]), kind)
            return self.b.call(intrinsic, [vector])
        if name == "where":
            left, right = self.unify(values[1], values[2])
            return self.b.select(values[0], left, right)
        raise self.fail(node, f"unknown function {name}")

    def invoke(self, node: ast.Call) -> Value:
        address = self.cast(self.value(node.args[0]), _I64)
        arguments = []
        for argument in node.args[1:]:
            if isinstance(argument, ast.Name) and argument.id in self.pointers:
                arguments.append(self.pointers[argument.id][0])
            else:
                arguments.append(self.cast(self.value(argument), _I64))
        kind = ir.FunctionType(_I64, [a.type for a in arguments]).as_pointer()
        return self.b.call(self.b.inttoptr(address, kind), arguments)

    # ------------------------------------------------------------------ types

    def truth(self, value: Any) -> Value:
        if isinstance(value, int):
            return _I1(bool(value))
        kind: Any = value.type
        return value if kind == _I1 else self.b.icmp_signed("!=", value, kind(0))

    def common(self, left: Any, right: Any) -> Any:
        """The type both sides convert to; a Python int takes the other side's."""
        if isinstance(left, int) and isinstance(right, int):
            return _I64
        if isinstance(left, int) or isinstance(right, int):
            typed: Any = right if isinstance(left, int) else left
            return _I64 if typed.type == _I1 else typed.type
        a, b = _scalar(left.type), _scalar(right.type)
        element = a if _RANK[a] >= _RANK[b] else b
        element = _I32 if element == _I1 else element
        for side in (left, right):
            if isinstance(side.type, ir.VectorType):
                return ir.VectorType(element, side.type.count)
        return element

    def unify(self, left: Any, right: Any) -> tuple[Value, Value]:
        kind = self.common(left, right)
        return self.cast(left, kind), self.cast(right, kind)

    def cast(self, value: Any, kind: Any) -> Value:
        if isinstance(kind, ir.VectorType):
            if isinstance(value, int):
                constant = self.cast(value, kind.element).constant
                return ir.Constant(kind, [constant] * kind.count)
            if not isinstance(value.type, ir.VectorType):
                return self.splat(self.cast(value, kind.element), kind)
        elif isinstance(value, int):
            if kind == _F32:
                return _F32(float(value))
            width = kind.width
            value &= (1 << width) - 1
            return kind(value - (1 << width) if value >> (width - 1) and width > 1 else value)
        if value.type == kind:
            return value
        source, target = _scalar(value.type), _scalar(kind)
        if target == _F32:
            return self.b.sitofp(value, kind)
        if source == _F32:
            return self.b.fptosi(value, kind)
        if source.width > target.width:
            return self.b.trunc(value, kind)
        return self.b.zext(value, kind) if source == _I1 else self.b.sext(value, kind)

    def splat(self, value: Value, kind: Any) -> Value:
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.b.insert_element(undefined, value, _I32(0))
        return self.b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count))


def _scalar(kind: Any) -> Any:
    return kind.element if isinstance(kind, ir.VectorType) else kind


def _bytes(kind: Any) -> int:
    return 4 if kind == _F32 else kind.width // 8


def _compare(sign: str, left: int, right: int) -> int:
    return int({"==": left == right, "!=": left != right, "<": left < right, "<=": left <= right,
                ">": left > right, ">=": left >= right}[sign])  # fmt: skip


def _as_load(target: ast.expr) -> ast.expr:
    return ast.parse(ast.unparse(target), mode="eval").body


def _is_static(node: ast.expr, generator: _Generator) -> bool:
    """True when `node` is built from compile-time constants only."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call | ast.Subscript):
            return False
        if isinstance(part, ast.Name) and part.id in generator.locals:
            return False
    return True
