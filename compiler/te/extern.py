"""Computations written as statements, where expressions do not reach: sorting, a device's own library."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.ir import Stmt
from compiler.te.errors import TensorExprError
from compiler.te.tensor import Operation, PartOp, Tensor, _check_dtype, _check_shape


class ExternOp(Operation):
    """Tensors that a statement writes.

    Attributes:
        outputs: what it writes; ``output`` is the first.
        body: the statement, over ``inputs`` and ``outputs`` as buffers.
    """

    def __init__(self, name: str, inputs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str]):
        self.name = name
        names = [name] if len(shapes) == 1 else [f"{name}.{i}" for i in range(len(shapes))]
        self.output = Tensor(names[0], shapes[0], dtypes[0], self)
        rest = zip(names[1:], shapes[1:], dtypes[1:], strict=True)
        self.outputs = (self.output, *(PartOp(n, shape, dtype, self).output for n, shape, dtype in rest))
        self._inputs = tuple(inputs)
        self.body: Stmt

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self._inputs


def extern(
    shape: Sequence[int] | Sequence[Sequence[int]],
    inputs: Sequence[Tensor],
    fcompute: Callable[[Sequence[Tensor], Sequence[Tensor]], Stmt],
    name: str = "extern",
    dtype: str | Sequence[str] | None = None,
) -> Tensor | list[Tensor]:
    """The tensor (or list of tensors, for a list of shapes) that a statement of loop IR writes.

    Args:
        shape: of the output, or one shape an output.
        inputs: the tensors it reads, whole.
        fcompute: ``fcompute(ins, outs)`` returns the statement; ``ins`` and ``outs`` are buffers.
        name: of the output (of several: ``name.0``, ``name.1``, ...).
        dtype: element type of the output, or of each; default: that of the first input.

    Raises TensorExprError when there is nothing to write, or the statement is none.

    >>> A = te.placeholder((4,), "int32", "A")
    >>> i = ir.Var("i", "int32")
    >>> def reverse(ins, outs):
    ...     return ir.For(i, 4, ir.Store(outs[0], [i], ins[0][3 - i]))
    >>> te.create_schedule(te.extern((4,), [A], reverse, "R")).show()
    for i in range(4):
        R[i] = A[3 - i]
    """
    several = bool(shape) and not isinstance(shape[0], int)
    shapes = [_check_shape(s, f"extern '{name}'") for s in (shape if several else [shape])]  # type: ignore[arg-type]
    if dtype is None:
        if not inputs:
            raise TensorExprError(f"extern '{name}': without inputs it needs a dtype")
        dtype = inputs[0].dtype
    dtypes = [dtype] * len(shapes) if isinstance(dtype, str) else list(dtype)
    if not shapes or len(dtypes) != len(shapes):
        raise TensorExprError(f"extern '{name}': {len(shapes)} shapes and {len(dtypes)} element types; one each")
    for kind in dtypes:
        _check_dtype(kind, f"extern '{name}'")
    op = ExternOp(name, inputs, shapes, dtypes)
    body = fcompute(op.inputs, op.outputs)
    if not isinstance(body, Stmt):
        raise TensorExprError(f"extern '{name}': fcompute must return a statement, got {body!r}")
    op.body = body
    return list(op.outputs) if several else op.output
