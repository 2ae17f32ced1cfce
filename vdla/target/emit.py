"""A lowered program into VDLA instructions.

:class:`Emitter` analyses a :class:`~compiler.ir.PrimFunc` once (which loops stay, which nests become one instruction,
where the buffers lie) and then writes it into a :class:`~vdla.target.stream.Stream` as often as wanted, for any
addresses of its tensors: layers of equal shape share the analysis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.ir import (
    ITEM_BYTES,
    Allocate,
    Attr,
    Buffer,
    Call,
    Evaluate,
    Expr,
    For,
    If,
    IntImm,
    Load,
    PrimFunc,
    Seq,
    Stmt,
    Store,
    Var,
    walk_stmt,
)  # fmt: skip
from hw import isa
from hw.config import Config
from vdla.target.affine import compile_expr
from vdla.target.dma import CopyNest
from vdla.target.errors import CapacityError, LoweringError
from vdla.target.fold import Folded, address
from vdla.target.in_place import find_aliases
from vdla.target.stream import Stream

DMA_PRAGMA = "dma_copy"
ALTERNATE_PRAGMA = "dma_alternate"
"""On a copy: each transfer goes to the other of two places, so that it need not wait for the use of the one before."""
_LOAD_BUFFERS = {"inp": isa.Buffer.INP, "wgt": isa.Buffer.WGT, "aux": isa.Buffer.AUX, "uop": isa.Buffer.UOP}
SCOPES = ("inp", "wgt", "aux", "acc", "out")


def capacity(cfg: Config, scope: str) -> int:
    """Bytes of the buffer ``scope``."""
    return int(getattr(cfg, f"{scope}_buffer"))


def vector_bytes(cfg: Config, scope: str) -> int:
    """Bytes of one vector (row, tile) of the buffer ``scope``."""
    return int(getattr(cfg, f"{scope}_vector_bytes"))


@dataclass
class Frame:
    """Where things lie during one emission: byte addresses of the DRAM tensors and of the buffers' contents.

    ``start``: where each allocation begins; ``sram``: where its contents are now (double buffers move).
    """

    stream: Stream
    dram: Mapping[Buffer, int]
    start: Mapping[Buffer, int]
    sram: dict[Buffer, int]

    def vector(self, cfg: Config, buffer: Buffer) -> int:
        """Index of the first vector of an allocated buffer."""
        return self.sram[buffer] // vector_bytes(cfg, buffer.scope)


_Run = Callable[[Frame, tuple[int, ...]], None]
_Operand = tuple[Load, int]  # the buffer element, and elements a vector


class Emitter:
    """The analysed program.

    Args:
        func: lowered function; every statement an intrinsic call or a copy under the ``dma_copy`` pragma.
        cfg: the machine.

    Raises:
        LoweringError: a statement has no translation.
        CapacityError: the allocations do not fit a buffer.
    """

    def __init__(self, func: PrimFunc, cfg: Config) -> None:
        self.func, self.cfg = func, cfg
        self.uop_limit = max(1, min(cfg.uop_depth // 2, 1024))
        self.allocations = [s.buffer for s in walk_stmt(func.body) if isinstance(s, Allocate)]
        self.double_buffered = {
            leaf.buffer
            for loop in walk_stmt(func.body)
            if isinstance(loop, For) and ALTERNATE_PRAGMA in loop.annotations
            for leaf in walk_stmt(loop)
            if isinstance(leaf, Store)
        }
        self._alias = find_aliases(func)
        self.needs = self._place()
        self._run = self._statement(func.body, ())

    # ------------------------------------------------------------------------------------------- placement

    def root(self, buffer: Buffer) -> Buffer:
        """The buffer in whose place ``buffer`` lies."""
        while buffer in self._alias:
            buffer = self._alias[buffer]
        return buffer

    def _place(self) -> dict[str, int]:
        """Byte offsets of the allocations inside their scope; returns the bytes needed of each scope."""
        used: dict[str, int] = {}
        self.offset: dict[Buffer, int] = {}
        self.size: dict[Buffer, int] = {}
        for buffer in self.allocations:
            if buffer.scope not in SCOPES:
                raise LoweringError(
                    f"stage '{buffer.name}' is in scope '{buffer.scope}', which VDLA does not have; put it into one of "
                    f"{', '.join(SCOPES)} with s[{buffer.name}].set_scope(...)"
                )
            if self.root(buffer) is not buffer:
                continue
            unit = vector_bytes(self.cfg, buffer.scope)
            at = used.get(buffer.scope, 0)
            self.offset[buffer] = at
            size = -(-buffer.nbytes // unit) * unit
            self.size[buffer] = size
            used[buffer.scope] = at + size * (2 if buffer in self.double_buffered else 1)
        for buffer in self.allocations:
            self.offset[buffer] = self.offset[self.root(buffer)]
        for scope, need in used.items():
            have = capacity(self.cfg, scope)
            if need > have:
                raise CapacityError(
                    f"{self.func.name} needs {need} bytes of the {scope} buffer, vdla.{scope}_buffer has {have}"
                )
        return used

    # ------------------------------------------------------------------------------------------- analysis

    def _statement(self, stmt: Stmt, outer: tuple[Var, ...]) -> _Run:
        if isinstance(stmt, Seq):
            parts = [self._statement(s, outer) for s in stmt.stmts]

            def run_seq(frame: Frame, values: tuple[int, ...]) -> None:
                for part in parts:
                    part(frame, values)

            return run_seq
        if isinstance(stmt, Allocate) and stmt.buffer in self.double_buffered:
            return self._double(stmt, outer)
        if isinstance(stmt, (Allocate, Attr)):
            return self._statement(stmt.body, outer)
        if isinstance(stmt, For) and DMA_PRAGMA in stmt.annotations:
            return self._copy(stmt, outer)
        if isinstance(stmt, If) and stmt.otherwise is None:
            body = self._statement(stmt.then, outer)
            cond = compile_expr(stmt.cond, outer)

            def run_if(frame: Frame, values: tuple[int, ...]) -> None:
                if cond(*values):
                    body(frame, values)

            return run_if
        if isinstance(stmt, (For, Evaluate)):
            nest = _perfect_nest(stmt)
            if nest is not None:
                return self._operation(*nest, outer)
        if isinstance(stmt, For):
            inner = self._statement(stmt.body, (*outer, stmt.var))
            extent = stmt.extent

            def run_for(frame: Frame, values: tuple[int, ...]) -> None:
                for i in range(extent):
                    inner(frame, (*values, i))

            return run_for
        raise LoweringError(
            f"{self.func.name}: this statement is neither a VDLA intrinsic nor a copy under the {DMA_PRAGMA} pragma; "
            f"tensorize its stage: {str(stmt).strip()}"
        )

    def _double(self, stmt: Allocate, outer: tuple[Var, ...]) -> _Run:
        """A double-buffered allocation: each time it is entered, the other of its two places is used."""
        body = self._statement(stmt.body, outer)
        buffer, size = stmt.buffer, self.size[stmt.buffer]

        def run(frame: Frame, values: tuple[int, ...]) -> None:
            frame.sram[buffer] += size if frame.sram[buffer] == frame.start[buffer] else -size
            body(frame, values)

        return run

    def _copy(self, stmt: For, outer: tuple[Var, ...]) -> _Run:
        nest = CopyNest(stmt, outer)
        buffer = nest.sram_buffer
        if nest.is_load and buffer.scope not in _LOAD_BUFFERS:
            raise LoweringError(f"the load unit cannot write {buffer!r}")
        if not nest.is_load and buffer.scope != "out":
            raise LoweringError(f"the store unit reads the out buffer, not {buffer!r}")

        def run(frame: Frame, values: tuple[int, ...]) -> None:
            sram, dram = nest.bases(values)
            sram += frame.sram[buffer]
            dram += frame.dram[nest.dram_buffer]
            append = frame.stream.append
            for t in nest.transfers(values):
                shape: dict[str, Any] = {
                    "sram": sram + t.sram, "seg": t.seg, "x_size": t.x.count, "x_sram": t.x.sram,
                    "y_size": t.y.count, "y_sram": t.y.sram,
                }  # fmt: skip
                if t.fill:
                    append(isa.Load(buffer=_LOAD_BUFFERS[buffer.scope], fill=True, value=nest.fill_byte, **shape))
                    continue
                shape |= {"dram": dram + t.dram, "x_dram": t.x.dram, "y_dram": t.y.dram}
                if nest.is_load:
                    append(isa.Load(buffer=_LOAD_BUFFERS[buffer.scope], **shape))
                else:
                    append(isa.Store(**shape))

        return run

    def _operation(self, loops: list[tuple[Var, int]], call: Call, outer: tuple[Var, ...]) -> _Run:
        rule = {"vdla.gemm": self._gemm, "vdla.alu": self._alu, "vdla.requant": self._requant}.get(call.name)
        if rule is None:
            raise LoweringError(f"VDLA has no instruction for the intrinsic {call.name}")
        return rule(loops, call, outer)

    def _operand(self, arg: Expr | str, scopes: Sequence[str]) -> _Operand:
        load = address(arg)
        scope = load.buffer.scope
        if scope not in scopes:
            raise LoweringError(f"{load} must be in one of the buffers {', '.join(scopes)}, it is in {scope!r}")
        return load, vector_bytes(self.cfg, scope) // ITEM_BYTES[load.buffer.dtype]

    def _launch(
        self, folded: Folded, operands: dict[str, _Operand], make: Callable[[dict[str, int]], isa.Instruction]
    ) -> _Run:
        """Write the nest's instructions; ``make`` gets uop_begin, uop_count and each operand's first vector."""
        cfg = self.cfg
        buffers = {name: load.buffer for name, (load, _) in operands.items()}

        def run(frame: Frame, values: tuple[int, ...]) -> None:
            bases = {n: folded.base(n, values) + frame.vector(cfg, b) for n, b in buffers.items()}
            for offsets, uops in folded.instances(values):
                at = {name: base + offsets[name] for name, base in bases.items()}
                frame.stream.append(make({"begin": frame.stream.kernel(uops), "count": len(uops), **at}))

        return run

    def _gemm(self, loops: list[tuple[Var, int]], call: Call, outer: tuple[Var, ...]) -> _Run:
        operands = {
            "dst": self._operand(call.args[0], ["acc"]),
            "src": self._operand(call.args[1], ["inp"]),
            "wgt": self._operand(call.args[2], ["wgt"]),
        }
        folded = Folded(loops, outer, operands, _expr(call.args[3]), self.uop_limit)
        (n_out, out), (n_in, inn) = folded.hardware_loop(0), folded.hardware_loop(1)

        def make(at: dict[str, int]) -> isa.Instruction:
            return isa.Gemm(
                uop_begin=at["begin"],
                uop_count=at["count"],
                iter_out=n_out,
                iter_in=n_in,
                dst_base=at["dst"],
                src_base=at["src"],
                wgt_base=at["wgt"],
                dst_out=out["dst"],
                dst_in=inn["dst"],
                src_out=out["src"],
                src_in=inn["src"],
                wgt_out=out["wgt"],
                wgt_in=inn["wgt"],
            )

        return self._launch(folded, operands, make)

    def _requant(self, loops: list[tuple[Var, int]], call: Call, outer: tuple[Var, ...]) -> _Run:
        operands = {
            "dst": self._operand(call.args[1], ["acc"]),
            "src": self._operand(call.args[2], ["aux"]),
            "out": self._operand(call.args[0], ["acc", "out"]),
        }
        folded = Folded(loops, outer, operands, IntImm(0, "bool"), self.uop_limit, in_uops=["src"])
        _same_steps(folded, call)
        zero_point, low, high = (_int(a) for a in call.args[3:6])
        to_out = operands["out"][0].buffer.scope == "out"
        (n_out, out), (n_in, inn) = folded.hardware_loop(0), folded.hardware_loop(1)

        def make(at: dict[str, int]) -> isa.Instruction:
            return isa.Requant(
                to_out=to_out,
                zero_point=zero_point,
                low=low,
                high=high,
                uop_begin=at["begin"],
                uop_count=at["count"],
                iter_out=n_out,
                iter_in=n_in,
                dst_base=at["dst"],
                src_base=at["src"],
                out_base=at["out"] if to_out else 0,
                dst_out=out["dst"],
                dst_in=inn["dst"],
            )

        return self._launch(folded, operands, make)

    def _alu(self, loops: list[tuple[Var, int]], call: Call, outer: tuple[Var, ...]) -> _Run:
        op, _, _, second, first, imm, shift, to_out_arg = call.args
        to_out = bool(_int(to_out_arg))
        operands = {
            "dst": self._operand(call.args[2], ["acc"]),
            "out": self._operand(call.args[1], ["out"] if to_out else ["acc"]),
        }
        if isinstance(second, IntImm):
            source, immediate = isa.AluSource.IMM, second.value
        else:
            operands["src"] = self._operand(second, ["acc", "aux"])
            source = isa.AluSource.ACC if operands["src"][0].buffer.scope == "acc" else isa.AluSource.AUX
            immediate = _int(imm)
        folded = Folded(loops, outer, operands, _expr(first), self.uop_limit)
        _same_steps(folded, call)
        (n_out, out), (n_in, inn) = folded.hardware_loop(0), folded.hardware_loop(1)
        code, left = isa.AluOp[str(op)], _int(shift)

        def make(at: dict[str, int]) -> isa.Instruction:
            return isa.Alu(
                op=code,
                source=source,
                to_out=to_out,
                imm=immediate,
                shift=left,
                uop_begin=at["begin"],
                uop_count=at["count"],
                iter_out=n_out,
                iter_in=n_in,
                dst_base=at["dst"],
                src_base=at.get("src", 0),
                out_base=at["out"] if to_out else 0,
                dst_out=out["dst"],
                dst_in=inn["dst"],
                src_out=out.get("src", 0),
                src_in=inn.get("src", 0),
            )

        return self._launch(folded, operands, make)

    # ------------------------------------------------------------------------------------------- emission

    def emit(self, stream: Stream, dram: Sequence[int], start: Mapping[str, int] | None = None) -> None:
        """Write the program into ``stream``.

        Args:
            dram: byte address of each parameter of the function, in order.
            start: byte offset in each scope from which its allocations lie (default 0).
        """
        start = start or {}
        sram = {b: at + start.get(b.scope, 0) for b, at in self.offset.items()}
        frame = Frame(stream, dict(zip(self.func.params, dram, strict=True)), sram, dict(sram))
        self._run(frame, ())


def _perfect_nest(stmt: Stmt) -> tuple[list[tuple[Var, int]], Call] | None:
    """Loops and call, if ``stmt`` is nothing but loops around one intrinsic call."""
    loops: list[tuple[Var, int]] = []
    while isinstance(stmt, (For, Attr)):
        if isinstance(stmt, For):
            loops.append((stmt.var, stmt.extent))
        stmt = stmt.body
    if isinstance(stmt, Evaluate) and isinstance(stmt.value, Call):
        return loops, stmt.value
    return None


def _expr(arg: Expr | str) -> Expr:
    if isinstance(arg, str):
        raise LoweringError(f"expected an expression, found the name {arg!r}")
    return arg


def _int(arg: Expr | str) -> int:
    if isinstance(arg, IntImm):
        return arg.value
    raise LoweringError(f"expected a constant, found {arg}")


def _same_steps(folded: Folded, call: Call) -> None:
    """The machine moves the result with the accumulator it reads: their steps must agree."""
    dst, out = folded.operands["dst"], folded.operands["out"]
    if dst.coefficients != out.coefficients:
        raise LoweringError(
            f"{call.name}: the result {out.load.buffer!r} and its accumulator {dst.load.buffer!r} must have one layout"
        )
