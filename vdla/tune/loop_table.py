"""The loop table of a convolution's template, written down from its knobs: features of any number of tiles at once.

The loops are those of the schedule in :func:`vdla.target.ops.conv2d.build`; tests compare the table with the one read
off the lowered program.  Operators in other forms (patches, depthwise, a residual behind) have none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compiler.ir.stmt import LOOP_KINDS
from compiler.tune.features import LoopTable, table_features
from compiler.tune.space import ConfigSpace
from hw.config import Config
from vdla.target.layout import act_block, ceil_div
from vdla.target.ops import conv2d
from vdla.tune.templates import Spec

Number = int | np.ndarray
_Loop = tuple[Number, dict[int, Number]]
"""Extent, and the step of each dimension's index that it moves."""


def has_table(cfg: Config, spec: Spec) -> bool:
    """Whether the operator's loop table can be written down.

    Output channels that leave a block of the machine empty make loops shorter than their split factors; such
    operators have none either.
    """
    if not isinstance(spec, conv2d.ConvSpec) or spec.add is not None or spec.patch or spec.depthwise:
        return False
    block = act_block(cfg)
    return ceil_div(spec.oc, block) * block == ceil_div(spec.oc, cfg.block_out) * cfg.block_out


class _Accesses:
    """Collects accesses, then packs them into arrays."""

    def __init__(self, programs: int) -> None:
        self._programs = programs
        self._rows: list[tuple[str, list[_Loop], list[Number], Number]] = []

    def add(self, name: str, loops: list[_Loop], sizes: list[Number], launches: Number = 0) -> None:
        self._rows.append((name, loops, sizes, launches))

    def table(self, kinds: np.ndarray) -> LoopTable:
        rows = sorted(self._rows, key=lambda row: row[0])
        depth = max(len(loops) for _, loops, _, _ in rows)
        dims = max(len(sizes) for _, _, sizes, _ in rows)
        shape = (self._programs, len(rows))
        extents, sizes = np.ones((*shape, depth), np.int64), np.ones((*shape, dims), np.int64)
        steps, launches = np.zeros((*shape, dims, depth), np.int64), np.zeros(shape, np.int64)
        for a, (_, loops, row_sizes, row_launches) in enumerate(rows):
            for level, (extent, moved) in enumerate(loops):
                extents[:, a, level] = extent
                for d, step in moved.items():
                    steps[:, a, d, level] = step
            for d, size in enumerate(row_sizes):
                sizes[:, a, d] = size
            launches[:, a] = row_launches
        return LoopTable(extents, steps, sizes, launches, kinds)


class LoopFeatures:
    """Features of points of a convolution's space, without lowering them.

    ``of_table``: which features, :func:`compiler.tune.features.table_features` or ``table_trees``.
    """

    def __init__(
        self,
        cfg: Config,
        spec: Spec,
        space: ConfigSpace,
        of_table: Callable[[LoopTable], np.ndarray] = table_features,
    ) -> None:
        self._of_table = of_table
        assert isinstance(spec, conv2d.ConvSpec) and has_table(cfg, spec)
        self._cfg, self._spec, self._space = cfg, spec, space
        self._columns = {
            "threads": [count for count, _ in space.knobs[0].values],
            "shares_oc": [axis == "oc" for _, axis in space.knobs[0].values],
            **{knob.name: list(knob.values) for knob in space.knobs[1:5]},
            "rows": [rows for rows, _ in space.knobs[5].values],
            "resident": [resident for _, resident in space.knobs[5].values],
        }

    def __call__(self, indices: Sequence[int]) -> np.ndarray:
        return self._of_table(self.table(indices))

    def table(self, indices: Sequence[int]) -> LoopTable:
        """The loop table of the points."""
        cfg, spec = self._cfg, self._spec
        digits = self._space.digit_matrix(indices)
        knob_of = {"threads": 0, "shares_oc": 0, "oc": 1, "h": 2, "w": 3, "ic": 4, "rows": 5, "resident": 5}
        v = {name: np.asarray(values)[digits[:, knob_of[name]]] for name, values in self._columns.items()}
        count, by_oc, resident = v["threads"], v["shares_oc"], v["resident"]
        oc, h, w, ic, rows = v["oc"], v["h"], v["w"], v["ic"], v["rows"]

        batch, bo, bi, c = cfg.batch, cfg.block_out, cfg.block_in, act_block(cfg)
        nb, ob, cb = ceil_div(spec.n, batch), ceil_div(spec.oc, bo), ceil_div(spec.ic, bi)
        (sh, sw), kh, kw = spec.strides, spec.kh, spec.kw
        share_oc, share_h = np.where(by_oc, count, 1), np.where(by_oc, 1, count)
        slice_oc, ratio = oc * share_oc, bo // c
        ih, iw = (h - 1) * sh + kh, (w - 1) * sw + kw
        co, yo, xo = ob // slice_oc, -(-spec.oh // h) // share_h, -(-spec.ow // w)
        of_oc, of_h = np.where(by_oc, oc, 0), np.where(by_oc, 0, h)  # what a thread's number moves

        def outer(co_: dict, n_: dict, yo_: dict, xo_: dict, th_: dict) -> list[_Loop]:
            return [(co, co_), (nb, n_), (yo, yo_), (xo, xo_), (count, th_)]

        tiles = co * nb * yo * xo * count
        free: dict[int, Number] = {}
        local = outer(free, free, free, free, free)
        out = _Accesses(len(digits))

        parameters: list[_Loop] = [(bo, {1: 1}), (2, {2: 1})]
        out.add("params_aux", [(co, free), (slice_oc, {0: 1}), *parameters], [slice_oc, bo, 2], co)
        out.add("params", [(co, {0: slice_oc}), (slice_oc, {0: 1}), *parameters], [ob, bo, 2], co)

        chunks, loads = cb // ic, tiles * (cb // ic)
        inner = [(ic, {1: 1}), (ih, {2: 1}), (iw, {3: 1}), (batch, {4: 1}), (bi, {5: 1})]
        input_sizes: list[Number] = [1, ic, ih, iw, batch, bi]
        out.add("input", [*local, (chunks, free), *inner], input_sizes, loads)
        # Blocks of channels in DRAM are c wide; those of the machine may hold several of them.
        split = bi // c
        lanes: dict[int, Number] = {5: 1} if split == 1 else {1: 1, 5: 1}
        channel: list[_Loop] = [(ic, {1: split if split == 1 else bi, **({} if split == 1 else {5: bi})})]
        source = outer(free, {0: 1}, {2: h * share_h * sh}, {3: w * sw}, {2: of_h * sh})
        fetched = [*channel, (ih, {2: 1}), (iw, {3: 1}), (batch, {4: 1}), (bi, lanes)]
        chunk_step: dict[int, Number] = {1: ic} if split == 1 else {1: ic * bi, 5: ic * bi}
        data_sizes: list[Number] = [nb, ceil_div(spec.ic, c), spec.h, spec.w, batch, c]
        out.add("data", [*source, (chunks, chunk_step), *fetched], data_sizes, loads)

        steps = kh // rows
        # Resident weights are copied above the tiles, whole; others inside the reduction, by chunks.
        keep = np.where(resident, 1, 0)
        once, often = (lambda n: np.where(keep, n, 1)), (lambda n: np.where(keep, 1, n))
        copied = [
            (once(slice_oc) * often(oc), {0: 1}), (once(cb) * often(ic), {1: 1}), (rows, {2: 1}), (kw, {3: 1}),
            (bo, {4: 1}), (bi, {5: 1}),
        ]  # fmt: skip
        kept: list[Number] = [once(slice_oc) * often(oc), once(cb) * often(ic), rows, kw, bo, bi]
        above = [(co, free), *((often(n), free) for n in (nb, yo, xo, count, chunks, steps))]
        from_dram: list[_Loop] = [
            (co, {0: slice_oc}), (often(nb), free), (often(yo), free), (often(xo), free),
            (often(count), {0: of_oc}), (often(chunks), {1: ic}), (often(steps), {2: rows}),
        ]  # fmt: skip
        transfers = np.where(keep, co, tiles * chunks * steps)
        out.add("weights_wgt", [*above, *copied], kept, transfers)
        out.add("weights", [*from_dram, *copied], [ob, cb, kh, kw, bo, bi], transfers)

        def gemm(dims: Sequence[dict[int, Number]], thread: dict[int, Number]) -> list[_Loop]:
            extents = (chunks, steps, ic, rows, kw, oc, h, w)
            return [*outer(free, free, free, free, thread), *zip(extents, dims, strict=True)]

        acc_sizes: list[Number] = [1, oc, h, w, batch, bo]
        f = free
        out.add("conv", gemm([f, f, f, f, f, {1: 1}, {2: 1}, {3: 1}], f), acc_sizes)
        window = [f, {2: rows}, {1: 1}, {2: 1}, {3: 1}, f, {2: sh}, {3: sw}]
        out.add("input", gemm(window, f), input_sizes)
        chunk_of: dict[int, Number] = {1: np.where(keep, ic, 0)}
        taps = [chunk_of, f, {1: 1}, {2: 1}, {3: 1}, {0: 1}, f, f]
        out.add("weights_wgt", gemm(taps, {0: np.where(keep, of_oc, 0)}), kept)

        pixels: list[_Loop] = [(oc, {1: 1}), (h, {2: 1}), (w, {3: 1})]
        out.add("requantized", [*local, *pixels], acc_sizes)
        out.add("conv", [*local, *pixels], acc_sizes)
        entry = outer(free, free, free, free, {0: of_oc})
        out.add("params_aux", [*entry, (oc, {0: 1}), (h, free), (w, free)], [slice_oc, bo, 2])

        stored: list[_Loop] = [(oc * ratio, {1: 1}), (h, {2: 1}), (w, {3: 1}), (batch, {4: 1}), (c, {5: 1})]
        place = outer(
            {1: slice_oc * ratio}, {0: 1}, {2: h * share_h}, {3: w}, {1: of_oc * ratio, 2: of_h}
        )  # fmt: skip
        sizes: list[Number] = [nb, ceil_div(spec.oc, c), spec.oh, spec.ow, batch, c]
        out.add("out", [*place, *stored], sizes, tiles)
        if ratio == 1:
            read = stored
        else:
            read = [(oc * ratio, {1: 1, 5: c}), (h, {2: 1}), (w, {3: 1}), (batch, {4: 1}), (c, {5: 1})]
        out.add("requantized", [*local, *read], acc_sizes, tiles)

        kinds = np.zeros((len(digits), len(LOOP_KINDS) - 1, 2), np.int64)
        vthread = LOOP_KINDS.index("vthread") - 1
        kinds[:, vthread, 0] = count > 1
        kinds[:, vthread, 1] = np.where(count > 1, count, 0)
        return out.table(kinds)
