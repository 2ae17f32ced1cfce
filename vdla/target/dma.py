"""Copy nests into LOAD and STORE instructions.

A stage that only copies (``dst[...] = src[...]`` or ``select(guard, src[...], constant)``, under the ``dma_copy``
pragma) is not run by anybody's loops: the addresses of the whole nest are analysed and described by as few
instructions as possible.  Any copy whose source address is a sum of functions of single loop variables has such a
description: padding becomes fills, overlapping windows (a shallow convolution's patches) become strided segments,
layout changes become strides.  Variables that meet in one non-linear term (``(16*kb + k) // 21``) are tabulated
together.

The analysis depends on the enclosing loops only through the guards, so that it is done once per distinct set of
valid ranges and then moved to each address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from compiler.ir import ITEM_BYTES, Buffer, Expr, For, If, IntImm, Load, Select, Stmt, Store, Var, free_vars
from hw.isa import COUNT_BITS, STRIDE_BITS
from vdla.target.affine import Split, compile_expr, conjuncts
from vdla.target.errors import LoweringError

MOST = (1 << COUNT_BITS) - 1
"""Iterations of one loop of an instruction, at most."""
LONGEST_STRIDE = (1 << STRIDE_BITS) - 1
"""Bytes between two segments in DRAM, at most."""


class Dim(NamedTuple):
    """One dimension of a piece: how often, and the byte steps in the buffer and in DRAM."""

    count: int
    sram: int
    dram: int


class Piece(NamedTuple):
    """A regular set of bytes: offsets of its first byte, dimensions from outermost to innermost, and whether it is a
    fill."""

    sram: int
    dram: int
    dims: tuple[Dim, ...]
    fill: bool


class Transfer(NamedTuple):
    """One instruction's shape, relative to the bases of the copy: the fields of LOAD and STORE."""

    sram: int
    dram: int
    seg: int
    x: Dim
    y: Dim
    fill: bool


def transfers(piece: Piece) -> list[Transfer]:
    """``piece`` as instructions of a segment and two strided dimensions."""
    dims = sorted((d for d in piece.dims if d.count > 1), key=lambda d: d.sram)
    seg = 1
    rest: list[Dim] = []
    for d in dims:
        if not rest and d.sram == seg and (piece.fill or d.dram == seg):
            seg *= d.count
        elif (
            rest
            and d.sram == rest[-1].count * rest[-1].sram
            and (piece.fill or d.dram == rest[-1].count * rest[-1].dram)
        ):
            last = rest[-1]
            rest[-1] = Dim(last.count * d.count, last.sram, last.dram)
        else:
            rest.append(d)
    # The dimension that is contiguous in DRAM goes innermost: its segments form one run there.
    rest.sort(key=lambda d: (d.dram != seg, -d.count))
    # What the fields cannot hold is left to several instructions: long strides, and loops beyond the counters.
    within = [d for d in rest if piece.fill or d.dram <= LONGEST_STRIDE]
    inner = within[:2] + [Dim(1, 0, 0)] * (2 - len(within))
    outer = [d for d in rest if d not in within] + within[2:]
    outer += [Dim(-(-d.count // MOST), d.sram * MOST, d.dram * MOST) for d in inner if d.count > MOST]
    out = []
    for at in product(*(range(d.count) for d in outer)):
        sram = piece.sram + sum(i * d.sram for i, d in zip(at, outer, strict=True))
        dram = piece.dram + sum(i * d.dram for i, d in zip(at, outer, strict=True))
        parts = list(at[len(at) - sum(d.count > MOST for d in inner) :])
        x, y = (Dim(min(d.count - parts.pop(0) * MOST, MOST), d.sram, d.dram) if d.count > MOST else d for d in inner)
        out.append(Transfer(sram, dram, seg, x, y, piece.fill))
    return out


@dataclass
class Group:
    """Loop variables analysed together: one linear variable, or several that share a non-linear term."""

    variables: tuple[Var, ...]
    extents: tuple[int, ...]
    sram: tuple[int, ...]  # bytes a step
    dram: tuple[int, ...]  # bytes a step of the linear part
    sram_others: list[tuple[int, Expr]]  # non-linear part in the buffer, bytes * term
    dram_others: list[tuple[int, Expr]]  # and in DRAM
    guards: list[Expr]


class CopyNest:
    """The analysed copy nest of one place in a program.

    Args:
        nest: the outermost loop of the copy.
        outer: variables of the loops around it, in order; :meth:`pieces` takes their values.
    """

    def __init__(self, nest: Stmt, outer: Sequence[Var]) -> None:
        self.outer = tuple(outer)
        loops: list[For] = []
        guards: list[Expr] = []
        body = nest
        while True:
            if isinstance(body, For):
                loops.append(body)
                body = body.body
            elif isinstance(body, If) and body.otherwise is None:
                guards += conjuncts(body.cond)
                body = body.then
            else:
                break
        if not isinstance(body, Store):
            raise LoweringError(f"a dma_copy nest holds one store, found {type(body).__name__.lower()}: {nest}")
        value = body.value
        fill = 0
        self.has_fill = False
        if isinstance(value, Select) and isinstance(value.true_value, Load) and isinstance(value.false_value, IntImm):
            self.padding = conjuncts(value.cond)
            fill = value.false_value.value
            self.has_fill = True
            value = value.true_value
        else:
            self.padding = []
        if not isinstance(value, Load):
            raise LoweringError(f"the DMA copies {body.buffer.name} from one tensor, it cannot compute {body.value}")
        self.store_to = body.buffer
        self.load_from = value.buffer
        self.is_load = body.buffer.scope != "global"
        item = ITEM_BYTES[body.buffer.dtype]
        if ITEM_BYTES[value.dtype] != item:
            raise LoweringError(f"the DMA cannot convert {value.dtype} to {body.buffer.dtype} ({body.buffer.name})")
        self.fill_byte = _fill_byte(fill, item, body.buffer)
        inner = [loop.var for loop in loops]
        extents = {loop.var: loop.extent for loop in loops}
        (dst,), (src,) = body.indices, value.indices
        sram_expr, dram_expr = (dst, src) if self.is_load else (src, dst)
        sram, dram = Split(sram_expr, inner), Split(dram_expr, inner)
        self.item = item
        self._sram_base = compile_expr(sram.base, self.outer)
        self._dram_base = compile_expr(dram.base, self.outer)
        outer_guards = [g for g in guards if not free_vars(g) & set(inner)]
        outer_pads = [g for g in self.padding if not free_vars(g) & set(inner)]
        self._enabled = [compile_expr(g, self.outer) for g in outer_guards]
        self._padded = [compile_expr(g, self.outer) for g in outer_pads]
        inner_guards = [g for g in guards if g not in outer_guards]
        inner_pads = [g for g in self.padding if g not in outer_pads]
        self.groups = _groups(inner, extents, sram, dram, inner_pads, inner_guards, item)
        # Where a store or load is guarded (a tile that overhangs the tensor), elements outside are simply not moved.
        self._skip = [
            [compile_expr(c, (*self.outer, *g.variables)) for c in inner_guards if free_vars(c) & set(g.variables)]
            for g in self.groups
        ]
        self._valid = [
            [compile_expr(c, (*self.outer, *g.variables)) for c in g.guards if c not in inner_guards]
            for g in self.groups
        ]
        self._others = [
            tuple(
                [(k, compile_expr(t, (*self.outer, *g.variables))) for k, t in others]
                for others in (g.sram_others, g.dram_others)
            )
            for g in self.groups
        ]
        deciding = {v for e in (*guards, *self.padding) for v in free_vars(e)}
        deciding |= {v for g in self.groups for _, e in (*g.sram_others, *g.dram_others) for v in free_vars(e)}
        self._deciding = [k for k, v in enumerate(self.outer) if v in deciding]
        self._by_values: dict[tuple[int, ...], list[Transfer]] = {}
        self._by_shape: dict[tuple, list[Transfer]] = {}

    @property
    def sram_buffer(self) -> Buffer:
        """The buffer on the machine's side."""
        return self.store_to if self.is_load else self.load_from

    @property
    def dram_buffer(self) -> Buffer:
        """The tensor in DRAM."""
        return self.load_from if self.is_load else self.store_to

    def bases(self, values: Sequence[int]) -> tuple[int, int]:
        """Byte offsets (in the buffer, in the DRAM tensor) to which the transfers are relative."""
        return self._sram_base(*values) * self.item, self._dram_base(*values) * self.item

    def transfers(self, values: Sequence[int]) -> list[Transfer]:
        """The instructions for the enclosing loops at ``values``, fills first."""
        key = tuple([values[k] for k in self._deciding])
        found = self._by_values.get(key)
        if found is None:
            found = self._by_values[key] = self._transfers(values)
        return found

    def _transfers(self, values: Sequence[int]) -> list[Transfer]:
        if not all(f(*values) for f in self._enabled):
            return []
        all_fill = not all(f(*values) for f in self._padded)
        tables = []
        for g, skip, valid, others in zip(self.groups, self._skip, self._valid, self._others, strict=True):
            tables.append(_tabulate(g, skip, valid, others, values))
        key = (all_fill, *tables)
        hit = self._by_shape.get(key)
        if hit is None:
            pieces = _combine(self.groups, tables, all_fill, self.item)
            hit = [t for p in pieces for t in transfers(p)]
            hit.sort(key=lambda t: not t.fill)
            self._by_shape[key] = hit
        return hit


def _fill_byte(value: int, item: int, buffer: Buffer) -> int:
    data = value.to_bytes(item, "little", signed=value < 0)
    if len(set(data)) != 1:
        raise LoweringError(f"padding {buffer.name} with {value}: a fill repeats one byte")
    return data[0]


def _groups(
    inner: list[Var],
    extents: dict[Var, int],
    sram: Split,
    dram: Split,
    pads: list[Expr],
    guards: list[Expr],
    item: int,
) -> list[Group]:
    """Union of the variables that share a non-linear term or a guard."""
    parent = {v: v for v in inner}

    def find(v: Var) -> Var:
        while parent[v] is not v:
            v = parent[v]
        return v

    inside = set(inner)
    for expr in [t for _, t in (*sram.others, *dram.others)] + pads + guards:
        held = [v for v in inner if v in free_vars(expr) & inside]
        for v in held[1:]:
            parent[find(v)] = find(held[0])
    members: dict[Var, list[Var]] = {}
    for v in inner:
        members.setdefault(find(v), []).append(v)
    out = []
    for variables in members.values():
        held = set(variables)
        out.append(
            Group(
                tuple(variables),
                tuple(extents[v] for v in variables),
                tuple(sram.coefficients[v] * item for v in variables),
                tuple(dram.coefficients[v] * item for v in variables),
                [(c * item, t) for c, t in sram.others if free_vars(t) & held],
                [(c * item, t) for c, t in dram.others if free_vars(t) & held],
                [g for g in pads + guards if free_vars(g) & held],
            )
        )
    return out


#: How one group's elements lie: None = all valid and linear; else an entry an element that is moved, in loop order: its
#: byte offset in the buffer, and in DRAM (None where padded).
_Table = tuple[tuple[int, int | None], ...] | None


def _tabulate(group: Group, skip: list, valid: list, others: tuple[list, ...], values: Sequence[int]) -> _Table:
    sram_others, dram_others = others
    plain = not sram_others and not dram_others
    if plain and not skip and not valid:
        return None
    out: list[tuple[int, int | None]] = []
    for at in product(*(range(n) for n in group.extents)):
        if skip and not all(f(*values, *at) for f in skip):
            plain = False
            continue
        sram = sum(i * d for i, d in zip(at, group.sram, strict=True))
        sram += sum(k * f(*values, *at) for k, f in sram_others)
        if valid and not all(f(*values, *at) for f in valid):
            out.append((sram, None))
            plain = False
        else:
            dram = sum(i * d for i, d in zip(at, group.dram, strict=True))
            out.append((sram, dram + sum(k * f(*values, *at) for k, f in dram_others)))
    return None if plain else tuple(out)


class _Part(NamedTuple):
    """A regular part of one group: as Piece, with kind data, fill or everything (for dimensions after a fill)."""

    sram: int
    dram: int
    dims: tuple[Dim, ...]


def _regular(points: list[tuple[int, int]]) -> list[_Part]:
    """(sram, dram) offsets in order, as few regular parts as a greedy scan finds: even runs, then even runs of runs."""
    runs: list[list[int]] = []  # sram, dram, count, sram step, dram step
    for s, d in points:
        if runs:
            r = runs[-1]
            if r[2] == 1:
                r[2], r[3], r[4] = 2, s - r[0], d - r[1]
                continue
            if s == r[0] + r[2] * r[3] and d == r[1] + r[2] * r[4]:
                r[2] += 1
                continue
        runs.append([s, d, 1, 0, 0])
    out: list[_Part] = []
    at = 0
    while at < len(runs):
        s, d, count, ss, ds = runs[at]
        many = 1
        if at + 1 < len(runs):
            step = (runs[at + 1][0] - s, runs[at + 1][1] - d)
            while at + many < len(runs):
                r = runs[at + many]
                if r[2:] != [count, ss, ds] or (r[0] - s, r[1] - d) != (many * step[0], many * step[1]):
                    break
                many += 1
        else:
            step = (0, 0)
        dims = (Dim(many, *step), Dim(count, ss, ds)) if many > 1 else (Dim(count, ss, ds),)
        out.append(_Part(s, d, dims))
        at += many
    return out


def _combine(groups: list[Group], tables: list[_Table], all_fill: bool, item: int) -> list[Piece]:
    """The pieces of the whole nest: the product of the groups' valid parts, and the fills around it."""
    whole: list[list[_Part]] = []  # every element of the group, for the buffer side only
    valid: list[list[_Part]] = []
    padded: list[list[_Part]] = []
    for g, table in zip(groups, tables, strict=True):
        if table is None:
            dims = tuple(Dim(n, s, d) for n, s, d in zip(g.extents, g.sram, g.dram, strict=True))
            part = [_Part(0, 0, dims)]
            whole.append(part)
            valid.append(part)
            padded.append([])
            continue
        whole.append(_regular([(s, 0) for s, _ in table]))
        valid.append(_regular([(s, d) for s, d in table if d is not None]))
        padded.append(_regular([(s, 0) for s, d in table if d is None]))
    byte = (Dim(item, 1, 1),) if item > 1 else ()
    out: list[Piece] = []

    def add(parts: tuple[_Part, ...], fill: bool) -> None:
        dims = tuple(d for p in parts for d in p.dims) + byte
        out.append(Piece(sum(p.sram for p in parts), sum(p.dram for p in parts), dims, fill))

    if all_fill:
        for parts in product(*whole):
            add(parts, True)
        return out
    for i, pads in enumerate(padded):
        if pads:
            for parts in product(*valid[:i], pads, *whole[i + 1 :]):
                add(parts, True)
    for parts in product(*valid):
        add(parts, False)
    return out
