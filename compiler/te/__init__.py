"""Tensor expressions and schedules (paper, section 4): what to compute, and in which loops."""

from compiler.te.default_schedule import schedule_for_cpu
from compiler.te.errors import ScheduleError, TensorExprError, TensorizeError
from compiler.te.extern import ExternOp, extern
from compiler.te.intrin import Region, TensorIntrin, TensorizeContext, decl_tensor_intrin
from compiler.te.scan import ScanOp, scan
from compiler.te.schedule import Schedule, create_schedule
from compiler.te.stage import Stage
from compiler.te.tensor import (
    ComputeOp,
    IterVar,
    Operation,
    PlaceholderOp,
    Reduce,
    Reducer,
    Tensor,
    comm_reducer,
    compute,
    max,
    min,
    placeholder,
    reduce_axis,
    sum,
    thread_axis,
)

__all__ = [
    "ComputeOp", "ExternOp", "IterVar", "Operation", "PlaceholderOp", "Reduce", "Reducer", "Region", "ScanOp",
    "Schedule", "ScheduleError", "Stage", "Tensor", "TensorExprError", "TensorIntrin", "TensorizeContext",
    "TensorizeError", "comm_reducer", "compute", "create_schedule", "decl_tensor_intrin", "extern", "max", "min",
    "placeholder", "reduce_axis", "scan", "schedule_for_cpu", "sum", "thread_axis",
]  # fmt: skip
