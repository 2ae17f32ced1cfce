"""The graph level's operators, one family a file; importing the package registers them all."""

from compiler.ops import (
    convolution,
    dense,
    elementwise,
    gather,
    logic,
    pooling,
    quantization,
    recurrent,
    reduction,
    tensor,
    window,
)
from compiler.ops.registry import REQUIRED, OpDef, Pattern, TensorType, get_op, op_names, register

__all__ = [
    "REQUIRED",
    "OpDef",
    "Pattern",
    "TensorType",
    "convolution",
    "dense",
    "elementwise",
    "gather",
    "get_op",
    "logic",
    "op_names",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "register",
    "tensor",
    "window",
]
