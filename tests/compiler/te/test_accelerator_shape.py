"""The shape of program a tensor accelerator wants: packed convolution, scopes, virtual threads, tensorized leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compiler import ir
from compiler.lower import PassContext, lower
from tests.compiler.te.conv_case import accelerator_conv, conv_reference, execute, inputs

CASES: list[dict[str, Any]] = [
    {},
    {"threads": "y", "tile_y": 2},
    {"h": 14, "w": 14, "cb": 3, "ob": 4, "tile_y": 7, "wgt_at_ky": False},
    {"stride": 2, "tile_y": 2, "threads": "y"},
    {"k": 1, "pad": 0, "ob": 1},
    {"tensorize": False, "h": 4, "w": 4},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_scheduled_convolution_computes_the_same(case: dict[str, Any]) -> None:
    conv = accelerator_conv(**case)
    func = lower(conv.schedule, conv.args)
    arrays = inputs(conv, seed=1)
    execute(func, arrays)
    np.testing.assert_array_equal(arrays[3], conv_reference(arrays, case.get("pad", 1), case.get("stride", 1)))


def test_trace_rebuilds_the_schedule() -> None:
    from compiler import te
    from tests.compiler.te.conv_case import gemm_intrin, requant_intrin

    conv = accelerator_conv()
    fresh = te.create_schedule(conv.out)
    scope = {"s": fresh, "te": te, "gemm": gemm_intrin(), "requant": requant_intrin()}
    exec(conv.schedule.trace(), scope)
    assert fresh.nest() == conv.schedule.nest()
    assert fresh.trace() == conv.schedule.trace()


def test_copies_are_single_clean_nests() -> None:
    """A copy with a pragma is one nest around one store, whatever its guard, and tiles have constant extents."""
    conv = accelerator_conv()
    func = lower(conv.schedule, conv.args)
    copies = [s for s in ir.loops_of(func.body) if "dma_copy" in s.annotations]
    assert len(copies) == 1 + 2 + 2 + 2  # one input tile shared by both threads, the rest once a thread
    for nest in copies:
        body: ir.Stmt = nest
        while isinstance(body, ir.For):
            body = body.body
        assert isinstance(body, ir.Store)
    guarded = [s for s in ir.walk_stmt(func.body) if isinstance(s, ir.Store) and isinstance(s.value, ir.Select)]
    assert [s.buffer.name for s in guarded] == ["padded"]


def test_scopes_and_sizes_of_the_buffers() -> None:
    conv = accelerator_conv()
    func = lower(conv.schedule, conv.args)
    sizes = {s.buffer.scope: s.buffer.shape[0] for s in ir.walk_stmt(func.body) if isinstance(s, ir.Allocate)}
    # input tile of 6x10 pixels; two threads' weights (3 tiles), accumulators, parameters and output pixels
    assert sizes == {"inp": 60 * 16, "wgt": 2 * 3 * 256, "acc": 2 * 32 * 16, "aux": 2 * 32, "out": 2 * 32 * 16}


def test_threads_alternate() -> None:
    conv = accelerator_conv(threads="y", tile_y=2)
    func = lower(conv.schedule, conv.args, context=PassContext(until="inject_vthreads"))
    loop = next(s for s in ir.loops_of(func.body) if s.var.name == "ry")
    order: list[str] = []
    for stmt in ir.walk_stmt(loop.body):
        if isinstance(stmt, ir.Store):
            order.append(f"load {stmt.buffer.name}")
        elif isinstance(stmt, ir.Evaluate):
            order.append(repr(stmt).split("(")[0])
    assert order == ["load kernel_wgt", "dev.gemm", "dev.gemm"]  # the weights are common to both threads
    loop = next(s for s in ir.loops_of(func.body) if s.var.name == "rc")
    stores = [s.buffer.name for s in ir.walk_stmt(loop.body) if isinstance(s, ir.Store)]
    assert stores == ["padded", "padded", "kernel_wgt"]
