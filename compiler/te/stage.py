"""One stage of a schedule: how the loops of one tensor are arranged, by primitives that keep its meaning.

Every primitive checks its arguments when it is called and raises :class:`ScheduleError` naming itself, the argument,
the stage and the user's line.  The nests in the docstrings are printed by ``Schedule.show`` and run as doctests.
"""

from __future__ import annotations

from typing import Any

from compiler.te.errors import user_location
from compiler.te.intrin import TensorIntrin
from compiler.te.relations import Fuse, Split, split_extents
from compiler.te.stage_state import StageState
from compiler.te.tensor import IterVar


class Stage(StageState):
    """The loop arrangement of one tensor; obtained as ``schedule[tensor]``.

    Its attributes are those of :class:`StageState`.
    """

    def split(self, parent: IterVar, factor: int | None = None, nparts: int | None = None) -> tuple[IterVar, IterVar]:
        """Split a loop in two: the inner of extent ``factor``, or the outer of extent ``nparts``.

        A factor that does not divide the extent is guarded.

        >>> A = te.placeholder((10,), "int32", "A")
        >>> B = te.compute((10,), lambda i: A[i] + 1, "B")
        >>> s = te.create_schedule(B)
        >>> s.show()
        for i in range(10):
            B[i] = A[i] + 1
        >>> outer, inner = s[B].split(B.op.axis[0], factor=4)
        >>> s.show()
        for i_outer in range(3):
            for i_inner in range(4):
                if i_outer * 4 + i_inner < 10:
                    B[i_outer * 4 + i_inner] = A[i_outer * 4 + i_inner] + 1
        """
        axis = self._leaf("split", parent, "parent")
        self._plain("split", axis, "parent")
        if (factor is None) == (nparts is None):
            raise self.fail("split", f"give exactly one of factor and nparts, got factor={factor!r}, nparts={nparts!r}")
        if factor is not None:
            factor = self._positive("split", "factor", factor)
            self_args: dict[str, Any] = {"factor": factor}
        else:
            nparts = self._positive("split", "nparts", nparts)
            self_args = {"nparts": nparts}
        outer_extent, inner_extent = split_extents(axis.extent, factor, nparts)
        outer = IterVar(f"{axis.name}_outer", outer_extent, axis.kind)
        inner = IterVar(f"{axis.name}_inner", inner_extent, axis.kind)
        self.relations.append(Split(axis, outer, inner, factor, nparts))
        at = self.leaf_iter_vars.index(axis)
        self.leaf_iter_vars[at : at + 1] = [outer, inner]
        self._record("split", axis, results=(outer, inner), **self_args)
        return outer, inner

    def tile(
        self, x_parent: IterVar, y_parent: IterVar, x_factor: int, y_factor: int
    ) -> tuple[IterVar, IterVar, IterVar, IterVar]:
        """Split two loops and bring the outer ones outside: ``x_outer, y_outer, x_inner, y_inner``.

        >>> B = te.compute((4, 6), lambda i, j: i + 0, "B")
        >>> s = te.create_schedule(B)
        >>> _ = s[B].tile(*B.op.axis, 2, 3)
        >>> s.show()
        for i_outer in range(2):
            for j_outer in range(2):
                for i_inner in range(2):
                    for j_inner in range(3):
                        B[i_outer * 2 + i_inner, j_outer * 3 + j_inner] = i_outer * 2 + i_inner
        """
        self._leaf("tile", x_parent, "x_parent")
        self._leaf("tile", y_parent, "y_parent")
        self._positive("tile", "x_factor", x_factor)
        self._positive("tile", "y_factor", y_factor)
        xo, xi = self.split(x_parent, factor=x_factor)
        yo, yi = self.split(y_parent, factor=y_factor)
        self.reorder(xo, yo, xi, yi)
        return xo, yo, xi, yi

    def fuse(self, *axes: IterVar) -> IterVar:
        """Fuse neighbouring loops, outermost first, into one.

        >>> A = te.placeholder((4, 6), "int32", "A")
        >>> B = te.compute((4, 6), lambda i, j: A[i, j] + 1, "B")
        >>> s = te.create_schedule(B)
        >>> f = s[B].fuse(*B.op.axis)
        >>> s.show()
        for i_j_fused in range(24):
            B[i_j_fused // 6, i_j_fused % 6] = A[i_j_fused // 6, i_j_fused % 6] + 1
        """
        if not axes:
            raise self.fail("fuse", "needs at least one axis")
        for a in axes:
            self._leaf("fuse", a)
            self._plain("fuse", a)
        leaves = self.leaf_iter_vars
        at = leaves.index(axes[0])
        if leaves[at : at + len(axes)] != list(axes):
            names = ", ".join(a.name for a in axes)
            order = ", ".join(v.name for v in leaves)
            message = f"axes {names} are not neighbours in this order; the loops are {order}; reorder them first"
            raise self.fail("fuse", message)
        if len({a.kind for a in axes}) > 1:
            raise self.fail("fuse", f"axes {', '.join(a.name for a in axes)} mix data and reduce loops")
        fused = axes[0]
        for a in axes[1:]:
            new = IterVar(f"{fused.name.removesuffix('_fused')}_{a.name}_fused", fused.extent * a.extent, a.kind)
            self.relations.append(Fuse(fused, a, new))
            leaves[at : at + 2] = [new]
            fused = new
        self._record("fuse", *axes, results=(fused,) if len(axes) > 1 else ())
        return fused

    def reorder(self, *axes: IterVar) -> None:
        """Put the given loops in the given order, into the places they hold now.

        >>> A = te.placeholder((4, 6), "int32", "A")
        >>> B = te.compute((4, 6), lambda i, j: A[i, j] + 1, "B")
        >>> s = te.create_schedule(B)
        >>> i, j = B.op.axis
        >>> s[B].reorder(j, i)
        >>> s.show()
        for j in range(6):
            for i in range(4):
                B[i, j] = A[i, j] + 1
        """
        for a in axes:
            self._leaf("reorder", a)
        if len(set(axes)) != len(axes):
            raise self.fail("reorder", f"an axis is given twice: {', '.join(a.name for a in axes)}")
        if self.tensorized is not None and any(self._inside_tensorized(a) for a in axes):
            raise self.fail("reorder", "some axes are inside the tensorized loops")
        places = sorted(self.leaf_iter_vars.index(a) for a in axes)
        for place, a in zip(places, axes, strict=True):
            self.leaf_iter_vars[place] = a
        self._record("reorder", *axes)

    # ------------------------------------------------------------------ how loops run

    def _set_kind(self, primitive: str, axis: IterVar, kind: str) -> None:
        self._leaf(primitive, axis)
        current = self.attr(axis).kind
        if current not in ("serial", kind):
            raise self.fail(primitive, f"axis '{axis.name}' is already {current}")
        self.attr(axis).kind = kind
        self._record(primitive, axis)

    def unroll(self, axis: IterVar) -> None:
        """Replace a loop by its iterations, one after the other.

        >>> A = te.placeholder((2,), "int32", "A")
        >>> B = te.compute((2,), lambda i: A[i] + 1, "B")
        >>> s = te.create_schedule(B)
        >>> s[B].unroll(B.op.axis[0])
        >>> s.show()
        for i in unrolled(2):
            B[i] = A[i] + 1
        """
        self._set_kind("unroll", axis, "unrolled")

    def vectorize(self, axis: IterVar) -> None:
        """Run all iterations of a loop at once, as a vector; not for reduce axes.

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> s = te.create_schedule(B)
        >>> s[B].vectorize(B.op.axis[0])
        >>> s.show()
        for i in vectorized(8):
            B[i] = A[i] + 1
        """
        if self._leaf("vectorize", axis).kind == "reduce":
            raise self.fail("vectorize", f"axis '{axis.name}' is a reduce axis: its iterations depend on each other")
        self._set_kind("vectorize", axis, "vectorized")

    def parallel(self, axis: IterVar) -> None:
        """Run the iterations of a loop on several cores; not for reduce axes.

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> s = te.create_schedule(B)
        >>> s[B].parallel(B.op.axis[0])
        >>> s.show()
        for i in parallel(8):
            B[i] = A[i] + 1
        """
        if self._leaf("parallel", axis).kind == "reduce":
            raise self.fail("parallel", f"axis '{axis.name}' is a reduce axis: its iterations depend on each other")
        self._set_kind("parallel", axis, "parallel")

    def bind(self, axis: IterVar, thread: IterVar) -> None:
        """Bind a loop to a thread axis; with ``thread_axis("vthread")`` its iterations become virtual threads that
        lowering interleaves into one instruction stream (paper, section 4.4).

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> s = te.create_schedule(B)
        >>> outer, inner = s[B].split(B.op.axis[0], nparts=2)
        >>> s[B].bind(outer, te.thread_axis("vthread"))
        >>> s.show()
        for i_outer in vthread(2):
            for i_inner in range(4):
                B[i_outer * 4 + i_inner] = A[i_outer * 4 + i_inner] + 1
        """
        self._leaf("bind", axis)
        if not isinstance(thread, IterVar) or thread.kind != "thread":
            raise self.fail("bind", f"thread {thread!r} is not made by te.thread_axis")
        if axis.kind == "reduce" and thread.tag in ("vthread", "cthread"):
            raise self.fail("bind", f"axis '{axis.name}' is a reduce axis: its iterations depend on each other")
        if thread.extent and thread.extent != axis.extent:
            extents = f"axis '{axis.name}' has extent {axis.extent}, thread '{thread.name}' {thread.extent}"
            raise self.fail("bind", extents)
        attr = self.attr(axis)
        if attr.kind != "serial":
            raise self.fail("bind", f"axis '{axis.name}' is already {attr.kind}")
        attr.kind = "vthread" if thread.tag in ("vthread", "cthread") else "thread"
        attr.thread = thread
        self._record("bind", axis, thread)

    def pragma(self, axis: IterVar, key: str, value: Any = True) -> None:
        """Mark a loop for a target's own pass: the loop carries ``annotations[key] = value``.

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> s = te.create_schedule(B)
        >>> s[B].pragma(B.op.axis[0], "dma_copy")
        >>> s.show()
        for i in range(8):  # dma_copy=True
            B[i] = A[i] + 1
        """
        self._leaf("pragma", axis)
        if not isinstance(key, str) or not key:
            raise self.fail("pragma", f"key must be a name, got {key!r}")
        self.attr(axis).pragmas[key] = value
        self._record("pragma", axis, key, *(() if value is True else (value,)))

    def tensorize(self, axis: IterVar, intrin: TensorIntrin) -> None:
        """Replace the loops from ``axis`` inwards by a tensor intrinsic; it is matched when the loops are made.

        >>> x = te.placeholder((4,), "int32", "x")
        >>> add4 = te.decl_tensor_intrin(te.compute((4,), lambda i: x[i] + 1, "y"), "add4",
        ...     lambda ctx: ir.Call("dev.add4", [ctx.output.address, ctx.inputs[0].address], "int32"))
        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> s = te.create_schedule(B)
        >>> outer, inner = s[B].split(B.op.axis[0], factor=4)
        >>> s[B].tensorize(inner, add4)
        >>> s.show()
        for i_outer in range(2):
            dev.add4(address_of(B[i_outer * 4]), address_of(A[i_outer * 4]))
        """
        self._leaf("tensorize", axis)
        if not isinstance(intrin, TensorIntrin):
            raise self.fail("tensorize", f"intrin {intrin!r} is not made by te.decl_tensor_intrin")
        if self.tensorized is not None:
            raise self.fail("tensorize", f"the stage is already tensorized at '{self.tensorized[0].name}'")
        self.tensorized = (axis, intrin, user_location())
        self._record("tensorize", axis, intrin)

    # ------------------------------------------------------------------ where the stage is computed

    def compute_at(self, parent: Stage, axis: IterVar) -> None:
        """Compute this stage inside loop ``axis`` of ``parent``, only what is needed there.

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> C = te.compute((4,), lambda i: B[i * 2] + B[i * 2 + 1], "C")
        >>> s = te.create_schedule(C)
        >>> s[B].compute_at(s[C], C.op.axis[0])
        >>> s.show()
        for i in range(4):
            B = allocate(int32[2])
            for i_1 in range(2):
                B[i_1] = A[i * 2 + i_1] + 1
            C[i] = B[0] + B[1]
        """
        self._compute("compute_at")
        if not isinstance(parent, Stage) or parent.schedule is not self.schedule:
            raise self.fail("compute_at", f"parent {parent!r} is not a stage of this schedule")
        if self.is_output:
            raise self.fail("compute_at", "the stage is an output: it is computed at the root")
        self._own_memory("compute_at")
        if parent is self or not self.schedule.reads(parent, self):
            raise self.fail("compute_at", f"stage '{parent.name}' does not use '{self.name}'")
        parent._leaf("compute_at", axis)
        if self.scan is not None and self.scan not in (parent, parent.scan):
            raise self.fail("compute_at", f"it depends on the state of '{self.scan.name}': it must stay in its loop")
        self.attach = (parent, axis)
        self.attach_location = user_location()
        trace = self.schedule.trace_log
        target = f"s[{trace.text(parent.tensor)}]"
        call = f"s[{trace.text(self.tensor)}].compute_at({target}, {trace.text(axis)})"
        trace.record("compute_at", call, self.attach_location)

    def compute_inline(self) -> None:
        """Put the stage's expression where it is used; it has no loops and no buffer of its own.

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> C = te.compute((8,), lambda i: B[i] * 2, "C")
        >>> s = te.create_schedule(C)
        >>> s[B].compute_inline()
        >>> s.show()
        for i in range(8):
            C[i] = (A[i] + 1) * 2
        """
        op = self._compute("compute_inline")
        if op.reduce_axis:
            raise self.fail("compute_inline", "a reduction cannot be inlined; compute it at a loop of its consumer")
        if self.is_output:
            raise self.fail("compute_inline", "the stage is an output: it must be stored")
        if self.must_store:
            raise self.fail("compute_inline", "a scan or an extern reads the tensor: it must be stored")
        for other in self.schedule.stages:
            if other.attach is not None and other.attach[0] is self:
                raise self.fail("compute_inline", f"'{other.name}' is computed at a loop of this stage")
        self.inlined = True
        self.attach = None
        self._record("compute_inline")

    def compute_root(self) -> None:
        """Compute the whole stage before its consumers (what a stage does unless told otherwise); what depends on the
        state of a scan, at the scan's loop.

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> C = te.compute((8,), lambda i: B[i] * 2, "C")
        >>> s = te.create_schedule(C)
        >>> s[B].compute_root()
        >>> s.show()
        B = allocate(int32[8])
        for i in range(8):
            B[i] = A[i] + 1
        for i_1 in range(8):
            C[i_1] = B[i_1] * 2
        """
        self.inlined = False
        self._compute("compute_root")
        self.attach = None if self.scan is None else (self.scan, self.scan.leaf_iter_vars[0])
        self._record("compute_root")

    # ------------------------------------------------------------------ where the data lies

    def set_scope(self, scope: str) -> None:
        """Keep the stage's tensor in a memory scope: ``global``, ``local``, ``shared`` or a target's own.

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> C = te.compute((8,), lambda i: B[i] * 2, "C")
        >>> s = te.create_schedule(C)
        >>> s[B].set_scope("acc")
        >>> s.show()
        B = allocate(int32[8], scope='acc')
        for i in range(8):
            B[i] = A[i] + 1
        for i_1 in range(8):
            C[i_1] = B[i_1] * 2
        """
        self._compute("set_scope")
        self._own_memory("set_scope")
        if not isinstance(scope, str) or not scope:
            raise self.fail("set_scope", f"scope must be a name, got {scope!r}")
        if self.is_output and scope != "global":
            message = f"the stage is an output and stays in global memory; cache_write it in {scope!r}"
            raise self.fail("set_scope", message)
        self.scope = scope
        self._record("set_scope", scope)

    def storage_align(self, axis: IterVar, factor: int, offset: int = 0) -> None:
        """Make the stride of a dimension congruent to ``offset`` modulo ``factor`` elements (``axis`` is one of
        ``op.axis``), e.g. to avoid bank conflicts.

        >>> A = te.placeholder((4, 6), "int32", "A")
        >>> B = te.compute((4, 6), lambda i, j: A[i, j] + 1, "B")
        >>> C = te.compute((4, 6), lambda i, j: B[i, j] * 2, "C")
        >>> s = te.create_schedule(C)
        >>> s[B].storage_align(B.op.axis[0], 8)
        >>> s.show()
        B = allocate(int32[4, 6], strides=[8, 1])
        for i in range(4):
            for j in range(6):
                B[i, j] = A[i, j] + 1
        for i_1 in range(4):
            for j_1 in range(6):
                C[i_1, j_1] = B[i_1, j_1] * 2
        """
        op = self._compute("storage_align")
        self._own_memory("storage_align")
        if axis not in op.axis:
            names = ", ".join(a.name for a in op.axis)
            raise self.fail("storage_align", f"axis {axis!r} is not a dimension of '{self.name}'; they are {names}")
        factor = self._positive("storage_align", "factor", factor)
        if not isinstance(offset, int) or not 0 <= offset < factor:
            raise self.fail("storage_align", f"offset must lie in 0..{factor - 1}, got {offset!r}")
        if self.is_output:
            raise self.fail("storage_align", "the stage is an output: its layout is the caller's")
        self.alignments[axis] = (factor, offset)
        self._record("storage_align", axis, factor, offset)

    def double_buffer(self) -> None:
        """Give the stage's tensor two buffers: the next iteration's is filled while this one's is used.

        The stage must be computed at a loop of its consumer; lowering does the rotation.

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> C = te.compute((8,), lambda i: B[i] * 2, "C")
        >>> s = te.create_schedule(C)
        >>> outer, inner = s[C].split(C.op.axis[0], factor=4)
        >>> s[B].compute_at(s[C], outer)
        >>> s[B].double_buffer()
        >>> print(ir.stmt_text(lower(s, [A, C]).body))
        B = allocate(int32[8])
        for i in range(4):
            B[i] = A[i] + 1
        for i_outer in range(2):
            if i_outer < 1:
                for i_1 in range(4):
                    B[i_1 + (i_outer + 1) % 2 * 4] = A[i_outer * 4 + i_1 + 4] + 1
            for i_inner in range(4):
                C[i_outer * 4 + i_inner] = B[i_outer * 4 + i_inner] * 2
        """
        self._compute("double_buffer")
        self._own_memory("double_buffer")
        if self.is_output:
            raise self.fail("double_buffer", "the stage is an output")
        self.double_buffered = True
        self._record("double_buffer")
