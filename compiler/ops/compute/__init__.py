"""The graph operators as tensor expressions, one family a file; importing the package registers them all.

They work on stored shapes: what an operator reads and writes lies as `Value.storage_shape` says. All but
layout_transform take plain layouts, where the stored shape is the logical one.
"""

from compiler.ops.compute import (
    convolution,
    dense,
    elementwise,
    gather,
    layout,
    logic,
    pooling,
    quantization,
    recurrent,
    reduction,
    tensor,
    window,
)
from compiler.ops.compute.registry import (
    PADDING,
    WINDOW,
    ComputeFunction,
    ConstantOp,
    compute_names,
    compute_of,
    constant,
    has_compute,
    register_compute,
)

__all__ = [
    "PADDING",
    "WINDOW",
    "ComputeFunction",
    "ConstantOp",
    "compute_names",
    "compute_of",
    "constant",
    "convolution",
    "dense",
    "elementwise",
    "gather",
    "has_compute",
    "layout",
    "logic",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "register_compute",
    "tensor",
    "window",
]
