"""How tensors lie in DRAM for VDLA.

Activations are packed ``[N/b][C/c][H][W][b][c]`` (layout ``NCHW{b}n{c}c``) with ``c`` the smaller of the two block
sizes, so that one layer's output is the next one's input whatever the array's shape; the DMA gathers the blocks that
each buffer wants.  An image with few channels, which would leave most of the array idle, stays ``[N][H][W*C]`` with its
padding in place, and the DMA builds patches from it.
"""

from __future__ import annotations

import numpy as np

from hw.config import Config


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def act_block(cfg: Config) -> int:
    """Channels in a block of a packed activation."""
    return min(cfg.block_in, cfg.block_out)


def act_layout(cfg: Config) -> str:
    """The graph's name for the layout of packed activations."""
    return f"NCHW{cfg.batch}n{act_block(cfg)}c"


def packed_shape(cfg: Config, n: int, c: int, h: int, w: int) -> tuple[int, int, int, int, int, int]:
    """DRAM shape of a logical [n][c][h][w] activation."""
    block = act_block(cfg)
    return (ceil_div(n, cfg.batch), ceil_div(c, block), h, w, cfg.batch, block)


def pack_weights(cfg: Config, w: np.ndarray) -> np.ndarray:
    """int8 [O][I][KH][KW] into tiles [O/bo][I/bi][KH][KW][bo][bi], zero-padded to whole input and output blocks."""
    o, i, kh, kw = w.shape
    bo, bi = cfg.block_out, cfg.block_in
    rows, columns = ceil_div(o, bo) * bo, ceil_div(i, bi) * bi
    full = np.zeros((rows, columns, kh, kw), np.int8)
    full[:o, :i] = w
    tiles = full.reshape(rows // bo, bo, columns // bi, bi, kh, kw)
    return np.ascontiguousarray(tiles.transpose(0, 2, 4, 5, 1, 3))


def pack_depthwise_weights(cfg: Config, w: np.ndarray) -> np.ndarray:
    """int8 [C][1][KH][KW] into diagonal tiles [C/bo][bo/bi][KH][KW][bo][bi], zero elsewhere."""
    c, _, kh, kw = w.shape
    bo, bi = cfg.block_out, cfg.block_in
    tiles = np.zeros((ceil_div(c, bo), bo // bi, kh, kw, bo, bi), np.int8)
    channel = np.arange(c)
    lane = channel % bo
    tiles[channel // bo, lane // bi, :, :, lane, lane % bi] = w[:, 0]
    return tiles


def pack_patch_weights(cfg: Config, w: np.ndarray) -> np.ndarray:
    """int8 [O][I][KH][KW] into tiles [O/bo][K/bi][bo][bi], K = KH*KW*I in a patch's order (ky, kx, channel)."""
    o, i, kh, kw = w.shape
    bo, bi = cfg.block_out, cfg.block_in
    rows, k = ceil_div(o, bo) * bo, kh * kw * i
    full = np.zeros((rows, ceil_div(k, bi) * bi), np.int8)
    full[:o, :k] = w.transpose(0, 2, 3, 1).reshape(o, k)
    return np.ascontiguousarray(full.reshape(rows // bo, bo, -1, bi).transpose(0, 2, 1, 3))


def pack_params(cfg: Config, params: np.ndarray) -> np.ndarray:
    """int32 [C][2] (bias, mult | shift << 18) into entries [C/bo][bo][2], zero-padded."""
    c = params.shape[0]
    full = np.zeros((ceil_div(c, cfg.block_out) * cfg.block_out, 2), np.int32)
    full[:c] = params
    return full.reshape(-1, cfg.block_out, 2)
