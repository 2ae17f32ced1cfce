"""Tensor intrinsics: a hardware instruction declared by its behaviour and by how it is emitted.

Paper section 4.3: like vectorization for tensor instructions, but no fixed set of them; an intrinsic is *declared*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compiler.ir import Buffer, Call, Expr, Load, Stmt
from compiler.te.errors import TensorExprError
from compiler.te.tensor import ComputeOp, Tensor


@dataclass(frozen=True)
class Region:
    """The block of a buffer that one operand of a tensorized statement stands for.

    Attributes:
        buffer: where it lies.
        indices: index of its first element, over the loops outside, one a dimension of the buffer.
        shape: extents of the operand as declared.
        strides: in elements, one a declared dimension (0 for a dimension of extent 1).
    """

    buffer: Buffer
    indices: tuple[Expr, ...]
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def address(self) -> Expr:
        """``address_of`` of the first element, dtype ``handle``."""
        return self.at()

    def at(self, *offsets: Expr | int) -> Expr:
        """``address_of`` of another element, the offsets in the buffer's last dimensions."""
        lead = len(self.indices) - len(offsets)
        moved = [base + offset for base, offset in zip(self.indices[lead:], offsets, strict=True)]
        return Call("address_of", (Load(self.buffer, (*self.indices[:lead], *moved)),), "handle")


@dataclass(frozen=True)
class TensorizeContext:
    """What an intrinsic's lowering rule is given.

    Attributes:
        inputs: one region an operand, in the order of :attr:`TensorIntrin.inputs`.
        output: the region it writes.
        first: bool expression, true in the iteration in which the reduction starts (every outer reduce loop at 0);
            constant true without outer reduce loops.
    """

    inputs: tuple[Region, ...]
    output: Region
    first: Expr


@dataclass(frozen=True)
class TensorIntrin:
    """A declared tensor intrinsic; made by :func:`decl_tensor_intrin`."""

    name: str
    op: ComputeOp
    inputs: tuple[Tensor, ...]
    lower: Callable[[TensorizeContext], Stmt | Expr]
    init: str

    def __repr__(self) -> str:
        return f"TensorIntrin({self.name})"


def decl_tensor_intrin(
    output: Tensor,
    name: str,
    lower: Callable[[TensorizeContext], Stmt | Expr],
    init: str = "fused",
    inputs: Sequence[Tensor] | None = None,
) -> TensorIntrin:
    """Declare an intrinsic.

    Args:
        output: a te compute over placeholders that says what the intrinsic computes.  Dimensions of extent 1 may be
            present or absent in what it is applied to; a reduction that lies wholly in the loops outside is declared
            with a ``reduce_axis(1)``.
        name: for messages and traces.
        lower: makes the statement (or the call) from a :class:`TensorizeContext`.  The first ``address_of`` of each
            call it makes must be what the call writes: later passes rely on that.
        init: ``"fused"``: the intrinsic itself starts from the reduction's identity where ``ctx.first`` is true, and no
            initialisation loops are made; ``"separate"``: it only accumulates, loops for the identity are made.
        inputs: order of the operands (default: order of first use in the expression).

    Raises TensorExprError if ``output`` is not a compute over placeholders.
    """
    if not isinstance(output, Tensor) or not isinstance(output.op, ComputeOp):
        raise TensorExprError(f"decl_tensor_intrin '{name}': the behaviour must be a te.compute, got {output!r}")
    if init not in ("fused", "separate"):
        raise TensorExprError(f"decl_tensor_intrin '{name}': init must be 'fused' or 'separate', got {init!r}")
    if not callable(lower):
        raise TensorExprError(f"decl_tensor_intrin '{name}': lower must be a function of the context, got {lower!r}")
    read = output.op.inputs
    for t in read:
        if isinstance(t.op, ComputeOp):
            raise TensorExprError(
                f"decl_tensor_intrin '{name}': operand '{t.name}' is computed; operands must be placeholders"
            )
    operands = read if inputs is None else tuple(inputs)
    if set(operands) != set(read):
        raise TensorExprError(
            f"decl_tensor_intrin '{name}': inputs are {[t.name for t in operands]}, "
            f"the expression reads {[t.name for t in read]}"
        )
    return TensorIntrin(name, output.op, operands, lower, init)
