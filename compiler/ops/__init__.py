"""The graph level's operators, one family a file; importing the package registers them all."""

from compiler.ops import convolution, dense, elementwise, pooling, quantization, reduction, tensor
from compiler.ops.registry import REQUIRED, OpDef, Pattern, TensorType, get_op, op_names, register

__all__ = [
    "REQUIRED",
    "OpDef",
    "Pattern",
    "TensorType",
    "convolution",
    "dense",
    "elementwise",
    "get_op",
    "op_names",
    "pooling",
    "quantization",
    "reduction",
    "register",
    "tensor",
]
