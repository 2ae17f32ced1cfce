"""Tensorize: match the inner loops of a stage against a declared intrinsic and put its statement there.

The sub-nest is brought to the form of a declaration (one variable an axis, starts taken out), then both expressions
are compared in normal form: index arithmetic as linear forms, commutative operands in any order, sums and products of
integers flattened, conversions that only widen merged.  Operands become regions: the start over the loops outside, and
strides that must be those declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

from compiler.arith import ZERO, Affine, Indexer, LoadRule, is_index
from compiler.ir import (
    BINARY_OPS,
    COMMUTATIVE_OPS,
    FLOAT_DTYPES,
    INT_RANGES,
    Binary,
    Buffer,
    Call,
    Cast,
    Evaluate,
    Expr,
    FloatImm,
    If,
    IntImm,
    Load,
    Not,
    Select,
    Stmt,
    Var,
    const,
    eq,
    logical_and,
    stmt_exprs,
    walk_expr,
    walk_stmt,
)
from compiler.lower.bounds import Bounds, Interval, StageBounds, sub_nest_intervals
from compiler.lower.guards import guards
from compiler.te.errors import TensorizeError
from compiler.te.intrin import Region, TensorIntrin, TensorizeContext
from compiler.te.tensor import IterVar, Reduce, Tensor


class _Mismatch(Exception):
    """Two subterms differ; turned into a TensorizeError with the place where it happened."""

    def __init__(self, message: str, expected: object = "", found: object = "") -> None:
        super().__init__(message)
        self.message, self.expected, self.found = message, str(expected), str(found)
        self.progress = 0  # operands matched before; of several orders the furthest is reported


@dataclass
class _Operand:
    """What is known about one operand: the buffer it lies in and the index of its first element."""

    buffer: Buffer
    base: list[Affine]
    strides: tuple[int, ...]

    def text(self, indexer: Indexer) -> str:
        return f"{self.buffer.name}[{', '.join(str(indexer.expr(b)) for b in self.base)}]"


def tensorize_stage(bounds: Bounds, info: StageBounds, inner_from: int, on_load: LoadRule) -> Stmt:
    """The statement of the stage's intrinsic in place of its loops from leaf ``inner_from`` inwards."""
    assert info.stage.tensorized is not None
    _, intrin, location = info.stage.tensorized
    try:
        return _tensorize(bounds, info, inner_from, on_load, intrin)
    except _Mismatch as m:
        raise TensorizeError(info.stage.name, intrin.name, m.message, m.expected, m.found, location) from None


def _tensorize(bounds: Bounds, info: StageBounds, inner_from: int, on_load: LoadRule, intrin: TensorIntrin) -> Stmt:
    indexer = bounds.indexer
    stage, op = info.stage, info.op
    leaves = stage.leaf_iter_vars
    inner = {v for v in leaves[inner_from:] if info.extents[v] > 1}
    conditions = guards(bounds, info, info.values, True)
    for cond in conditions:
        if any(n in inner for n in walk_expr(cond) if isinstance(n, IterVar)):
            raise _Mismatch(f"the tensorized loops need the guard {cond}: their extents do not divide the tensor's")
    intervals = sub_nest_intervals(indexer, info, set(leaves[inner_from:]), stage.name)
    if isinstance(intervals, IterVar):
        raise _Mismatch(f"the tensorized loops do not cover axis '{intervals.name}' densely; reorder its loops")

    # one fresh variable an axis that runs inside
    env: dict[Var, Affine] = {}
    runs: dict[str, list[tuple[IterVar, IterVar]]] = {"data": [], "reduce": []}
    starts = dict(zip(op.axis, info.start, strict=True))
    for a in (*op.axis, *op.reduce_axis):
        here: Interval = intervals[a]
        value = here.start + starts.get(a, ZERO)
        if here.extent > 1:
            v = IterVar(a.name, here.extent)
            indexer.declare(v, here.extent)
            value = value + indexer.var(v)
            runs[a.kind].append((a, v))
        env[a] = value
    data = _pair(intrin.op.axis, [v for _, v in runs["data"]], "data")

    body, declared = op.body, intrin.op.body
    if isinstance(body, Reduce) != isinstance(declared, Reduce):
        raise _Mismatch("one side is a reduction, the other is not", declared, body)
    source = body.source if isinstance(body, Reduce) else body
    expected = declared.source if isinstance(declared, Reduce) else declared
    found = indexer.rewrite(source, env, on_load)
    if isinstance(body, Reduce) and isinstance(declared, Reduce):
        if body.reducer.name != declared.reducer.name:
            raise _Mismatch("the reductions differ", f"te.{declared.reducer.name}", f"te.{body.reducer.name}")
        variables = [v for _, v in runs["reduce"]]
        own = [a for a in intrin.op.reduce_axis if a.extent > 1]
        if sorted(a.extent for a in own) != sorted(v.extent for v in variables):
            raise _Mismatch("the extents of the reduce loops differ", _shape(own), _shape(variables))
        orders = [p for p in permutations(variables) if [v.extent for v in p] == [a.extent for a in own]]
        matcher = None
        failure: _Mismatch | None = None
        for order in orders:
            attempt = _Matcher(indexer, intrin, {**data, **dict(zip(own, order, strict=True))})
            try:
                attempt.match(expected, found)
            except _Mismatch as m:
                failure = failure or m
            else:
                matcher = attempt
                break
        if matcher is None:
            assert failure is not None
            raise failure
    else:
        matcher = _Matcher(indexer, intrin, data)
        matcher.match(expected, found)

    # the output: a store at the data axes
    first = bounds.starts[stage.tensor]
    target = [env[a] - s for a, s in zip(op.axis, first, strict=True)]
    matcher.bind_output(info.buffer, target)
    inputs = tuple(matcher.region(t) for t in intrin.inputs)
    context = TensorizeContext(inputs, matcher.region(intrin.op.output), _first(info, inner))
    made = intrin.lower(context)
    stmt = Evaluate(made) if isinstance(made, Expr) else made
    if not isinstance(stmt, Stmt):
        raise _Mismatch(f"its lowering rule returned {type(made).__name__}, not a statement or an expression")
    _check_destination(stmt, info.buffer)
    return If(logical_and(*conditions), stmt) if conditions else stmt


def _shape(axes: list[IterVar]) -> str:
    return "[" + ", ".join(str(a.extent) for a in axes) + "]"


def _pair(axes: tuple[IterVar, ...], variables: list[IterVar], what: str) -> dict[IterVar, IterVar]:
    own = [a for a in axes if a.extent > 1]
    if [a.extent for a in own] != [v.extent for v in variables]:
        raise _Mismatch(f"the extents of the {what} loops differ", _shape(own), _shape(variables))
    return dict(zip(own, variables, strict=True))


def _first(info: StageBounds, inner: set[IterVar]) -> Expr:
    """True where every reduce loop outside the intrinsic is at its first iteration."""
    conditions = [
        eq(v, 0) for v in info.stage.leaf_iter_vars if v.kind == "reduce" and v not in inner and info.extents[v] > 1
    ]
    return logical_and(*conditions) if conditions else const(True, "bool")


def _check_destination(stmt: Stmt, output: Buffer) -> None:
    """The first address of what a statement calls must be the output: passes over the loop IR take it for what is
    written. Calls inside it are operands: they only read."""
    for s in walk_stmt(stmt):
        for node in stmt_exprs(s):
            if isinstance(node, Call) and "." in node.name:
                first = next((a for a in node.args if isinstance(a, Call) and a.name == "address_of"), None)
                if first is not None and first.args[0].buffer is not output:  # type: ignore[union-attr]
                    raise _Mismatch(
                        f"its lowering rule calls {node.name} with an address other than the output's first"
                    )


def widened(e: Expr) -> Expr:
    """``e`` without conversions that a wider one around them makes pointless."""
    while isinstance(e, Cast) and isinstance(e.value, Cast) and _holds(e.value.dtype, e.value.value.dtype):
        e = Cast(e.dtype, e.value.value)
    return e


def _holds(wide: str, narrow: str) -> bool:
    """Every value of ``narrow`` is a value of ``wide``."""
    if wide not in INT_RANGES or narrow not in INT_RANGES:
        return wide == narrow or (wide == "float64" and narrow == "float32")
    (least, most), (low, high) = INT_RANGES[wide], INT_RANGES[narrow]
    return least <= low and high <= most


class _Matcher:
    """Compares an intrinsic's expression with a stage's; collects the operands' regions on the way."""

    def __init__(self, indexer: Indexer, intrin: TensorIntrin, axes: Mapping[IterVar, IterVar]) -> None:
        self.indexer = indexer
        self.intrin = intrin
        self.axes = axes
        self.env: dict[Var, Affine] = {a: Affine({v: 1}) for a, v in axes.items()}
        for a in (*intrin.op.axis, *intrin.op.reduce_axis):
            self.env.setdefault(a, ZERO)
        self.variables = {id(v) for v in axes.values()}
        self.operands: dict[Tensor, _Operand] = {}

    def match(self, expected: Expr, found: Expr) -> None:
        """Raise _Mismatch unless ``found`` is ``expected`` with operands and variables renamed."""
        expected, found = widened(expected), widened(found)
        if is_index(expected) and is_index(found):
            if not self.indexer.affine(expected, self.env).same(self.indexer.affine(found)):
                raise _Mismatch("index arithmetic differs", expected, found)
            return
        if expected.dtype != found.dtype:
            raise _Mismatch("the types differ", f"{expected} ({expected.dtype})", f"{found} ({found.dtype})")
        if isinstance(expected, Load):
            if not isinstance(found, Load):
                raise _Mismatch(f"operand '{expected.buffer.name}' must be read here", expected, found)
            self._operand(expected, found)
            return
        if type(expected) is not type(found):
            raise _Mismatch("the expressions differ", expected, found)
        if isinstance(expected, (IntImm, FloatImm)):
            if expected is not found:
                raise _Mismatch("the constants differ", expected, found)
        elif isinstance(expected, Binary) and isinstance(found, Binary):
            self._binary(expected, found)
        elif isinstance(expected, Call) and isinstance(found, Call):
            if expected.name != found.name or len(expected.args) != len(found.args):
                raise _Mismatch("the functions differ", expected, found)
            for a, b in zip(expected.args, found.args, strict=True):
                if isinstance(a, Expr) and isinstance(b, Expr):
                    self.match(a, b)
                elif a != b:
                    raise _Mismatch("the functions' arguments differ", expected, found)
        elif isinstance(expected, (Cast, Not, Select)):
            for a, b in zip(expected.children, found.children, strict=True):
                self.match(a, b)
        elif expected is not found:
            raise _Mismatch("the expressions differ", expected, found)

    def _binary(self, expected: Binary, found: Binary) -> None:
        if expected.op != found.op:
            which = f"{BINARY_OPS[expected.op]}, {BINARY_OPS[found.op]}"
            raise _Mismatch(f"the operations differ ({which})", expected, found)
        op = expected.op
        if op not in COMMUTATIVE_OPS:
            self.match(expected.a, found.a)
            self.match(expected.b, found.b)
            return
        flat = op not in ("eq", "ne") and expected.dtype not in FLOAT_DTYPES
        left = _operands_of(expected, op) if flat else [expected.a, expected.b]
        right = _operands_of(found, op) if flat else [found.a, found.b]
        if len(left) != len(right):
            raise _Mismatch(f"the number of operands of {BINARY_OPS[op]!r} differs", expected, found)
        self._any_order(left, right)

    def _any_order(self, left: list[Expr], right: list[Expr]) -> None:
        if not left:
            return
        failure: _Mismatch | None = None
        for i, candidate in enumerate(right):
            saved = dict(self.operands)
            matched = 0
            try:
                self.match(left[0], candidate)
                matched = 1
                self._any_order(left[1:], right[:i] + right[i + 1 :])
            except _Mismatch as m:
                self.operands = saved
                m.progress += matched
                if failure is None or m.progress > failure.progress:
                    failure = m
            else:
                return
        assert failure is not None
        raise failure

    # ------------------------------------------------------------------ operands

    def _operand(self, expected: Load, found: Load) -> None:
        tensor = expected.buffer
        assert isinstance(tensor, Tensor)
        declared = [self.indexer.affine(i, self.env) for i in expected.indices]
        actual = [self.indexer.affine(i) for i in found.indices]
        operand = self._align(tensor, declared, found.buffer, actual, f"operand '{tensor.name}'", expected, found)
        before = self.operands.get(tensor)
        if before is None:
            self.operands[tensor] = operand
        elif before.buffer is not operand.buffer:
            names = before.buffer.name, operand.buffer.name
            raise _Mismatch(f"operand '{tensor.name}' is read from two buffers", *names)
        elif not all(x.same(y) for x, y in zip(before.base, operand.base, strict=True)):
            places = before.text(self.indexer), operand.text(self.indexer)
            raise _Mismatch(f"operand '{tensor.name}' is read at two places", *places)

    def bind_output(self, buffer: Buffer, target: list[Affine]) -> None:
        """The region written: ``buffer[target]`` against the declaration's output at its axes."""
        output = self.intrin.op.output
        declared = [self.env[a] for a in self.intrin.op.axis]
        self.operands[output] = self._align(output, declared, buffer, target, "the output", output.name, buffer.name)

    def _align(
        self,
        tensor: Tensor,
        declared: list[Affine],
        buffer: Buffer,
        actual: list[Affine],
        what: str,
        expected: object,
        found: object,
    ) -> _Operand:
        """Pair the declared dimensions with the buffer's, last first, dimensions of extent 1 left out on both sides."""
        base = list(actual)
        own_strides = tensor.dense_strides
        strides = [0] * len(tensor.shape)
        places = buffer.dense_strides
        d = len(actual) - 1
        for p in reversed(range(len(tensor.shape))):
            if tensor.shape[p] == 1:
                continue
            while d >= 0 and buffer.shape[d] == 1:
                d -= 1
            if d < 0:
                raise _Mismatch(f"{what} has more dimensions than '{buffer.name}'", expected, found)
            offset = actual[d] - declared[p]
            if any(id(a) in self.variables for a in offset.terms) or self._nonlinear(offset):
                raise _Mismatch(f"{what} is indexed otherwise in dimension {d} of '{buffer.name}'", expected, found)
            if places[d] != own_strides[p]:
                raise _Mismatch(
                    f"{what} is not dense in dimension {d} of '{buffer.name}' {list(buffer.shape)}",
                    f"stride {own_strides[p]}",
                    f"stride {places[d]}",
                )
            base[d] = offset
            strides[p] = places[d]
            d -= 1
        for rest in range(len(base)):
            if any(id(a) in self.variables for a in base[rest].terms) or self._nonlinear(base[rest]):
                raise _Mismatch(
                    f"{what} also moves along dimension {rest} of '{buffer.name}' {list(buffer.shape)}", expected, found
                )
        return _Operand(buffer, base, tuple(strides))

    def _nonlinear(self, a: Affine) -> bool:
        return any(id(n) in self.variables for atom in a.terms if not isinstance(atom, Var) for n in walk_expr(atom))

    def region(self, tensor: Tensor) -> Region:
        operand = self.operands.get(tensor)
        if operand is None:
            raise _Mismatch(f"operand '{tensor.name}' is not read")
        indices = tuple(self.indexer.expr(b) for b in operand.base)
        return Region(operand.buffer, indices, tensor.shape, operand.strides)


def _operands_of(e: Expr, op: str) -> list[Expr]:
    """The operands of nested applications of an associative operation, from the left."""
    if isinstance(e, Binary) and e.op == op:
        return _operands_of(e.a, op) + _operands_of(e.b, op)
    return [e]
