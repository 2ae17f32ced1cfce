"""Configurations: loading, overriding, refusing, deriving, fingerprints."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from hw import isa
from hw.config import BOARDS, Board, Config, MemoryConfig, boards, hardware_fields
from hw.errors import ConfigError
from tests.hw.strategies import configs, refusal


def test_every_board_loads_by_name_and_by_path():
    assert {"pynq-z1", "pynq-z2", "ultra96", "de10-nano", "tiny"} <= set(boards())
    for name in boards():
        cfg = Config.load(name)
        assert cfg.name == name
        assert Config.load(BOARDS / f"{name}.yaml") == cfg
        assert "part" in Board.load(name).facts


def test_the_default_configuration_is_pynq_z1():
    cfg = Config.load("pynq-z1")
    assert cfg.fingerprint == Config().fingerprint
    assert (cfg.inp_depth, cfg.wgt_depth, cfg.acc_depth, cfg.out_depth) == (2048, 128, 2048, 2048)
    assert (cfg.uop_bytes, cfg.uop_depth, cfg.param_vectors, cfg.bus_bytes) == (4, 8192, 8, 8)


def test_derived_sizes_with_batch_and_unequal_blocks():
    cfg = Config(batch=4, block_in=8, block_out=32)
    assert cfg.inp_vector_bytes == 32
    assert cfg.wgt_vector_bytes == 256
    assert cfg.acc_vector_bytes == 4 * 32 * 4
    assert cfg.out_vector_bytes == cfg.aux_vector_bytes == 128
    assert cfg.param_vectors == 2
    assert cfg.macs_per_cycle == 4 * 8 * 32


@settings(derandomize=True, deadline=None, max_examples=100)
@given(configs())
def test_dictionaries_round_trip_and_widths_suffice(cfg: Config):
    again = Config.from_dict(yaml.safe_load(yaml.safe_dump(cfg.to_dict())))
    assert again == cfg and again.fingerprint == cfg.fingerprint
    for space in ("uop", "inp", "wgt", "acc", "out", "aux"):
        depth, bits = getattr(cfg, f"{space}_depth"), getattr(cfg, f"{space}_index_bits")
        assert depth >= 2 and depth - 1 < 1 << bits
        assert bits == 1 or depth - 1 >= 1 << (bits - 1)
    assert cfg.uop_bytes == (4 if isa.uop_bits(cfg) <= 32 else 8)
    assert cfg.uop_depth < 1 << cfg.uop_count_bits


def test_fingerprint_follows_hardware_and_only_hardware():
    cfg = Config.load("tiny")
    assert re.fullmatch("[0-9a-f]{16}", cfg.fingerprint)
    environment = MemoryConfig(read_latency=99, stall_seed=3, stall_rate=0.2)
    assert cfg.with_(name="other", clock_mhz=55.0, memory=environment).fingerprint == cfg.fingerprint
    changes = {
        "batch": 2, "block_in": 8, "block_out": 8, "uop_buffer": 2048, "inp_buffer": 2048, "wgt_buffer": 2048,
        "acc_buffer": 8192, "out_buffer": 2048, "aux_buffer": 2048, "load_queue": 5, "compute_queue": 5,
        "store_queue": 5, "token_depth": 8, "bus_bits": 64, "axi": "axi4", "burst_beats": 16, "instruction_bits": 512,
    }  # fmt: skip
    assert set(changes) | {"inp_bits", "wgt_bits", "out_bits", "acc_bits"} == set(hardware_fields())
    prints = {cfg.with_(**{name: value}).fingerprint for name, value in changes.items()}
    assert len(prints) == len(changes) and cfg.fingerprint not in prints


def test_override_converts_types_and_applies_together():
    cfg = Config.load("pynq-z1").override(
        ["vdla.block_out=32", "vdla.axi=axi4", "vdla.burst_beats=256", "memory.read_latency=40",
         "memory.stall_seed=7", "memory.stall_rate=0.25", "vdla.clock_mhz=125"]
    )  # fmt: skip
    assert (cfg.block_out, cfg.axi, cfg.burst_beats, cfg.clock_mhz) == (32, "axi4", 256, 125.0)
    assert cfg.memory == MemoryConfig(read_latency=40, stall_seed=7, stall_rate=0.25)
    assert cfg.override(["memory.stall_seed=null", "memory.stall_rate=0"]).memory.stall_seed is None


@pytest.mark.parametrize(
    ("setting", "field", "words"),
    [
        ("vdla.blok_out=32", "vdla.blok_out", "did you mean vdla.block_out?"),
        ("block_out=32", "block_out", "did you mean vdla.block_out?"),
        ("memory.latency=3", "memory.latency", "memory.read_latency"),
        ("vdla.block_out", "vdla.block_out", "key=value"),
        ("vdla.block_out=wide", "vdla.block_out", "whole number"),
        ("vdla.block_out=16.5", "vdla.block_out", "whole number"),
        ("vdla.batch=true", "vdla.batch", "whole number"),
        ("vdla.block_out=[", "vdla.block_out", "not a value"),
        ("vdla.axi=ahb", "vdla.axi", "axi3 or axi4"),
    ],
)
def test_a_bad_setting_is_refused(setting: str, field: str, words: str):
    with pytest.raises(ConfigError) as caught:
        Config.load("pynq-z1").override([setting])
    assert caught.value.field == field
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "field", "legal"),
    [
        ({"block_in": 20}, "vdla.block_in", "try 16"),
        ({"block_out": 128}, "vdla.block_out", "try 64"),
        ({"batch": 3}, "vdla.batch", "try"),
        ({"acc_bits": 24}, "vdla.acc_bits", "try 32"),
        ({"burst_beats": 32}, "vdla.burst_beats", "try 16"),
        ({"burst_beats": 512, "axi": "axi4"}, "vdla.burst_beats", "try 256"),
        ({"bus_bits": 96}, "vdla.bus_bits", "try"),
        ({"inp_buffer": 1000}, "vdla.inp_buffer", "try 992"),
        ({"wgt_buffer": 256}, "vdla.wgt_buffer", "try 512"),
        ({"aux_buffer": 64}, "vdla.aux_buffer", "try 128"),
        ({"acc_buffer": 1 << 25}, "vdla.acc_buffer", f"try {1 << 24}"),
        ({"token_depth": 0}, "vdla.token_depth", "try 1"),
        ({"load_queue": 1}, "vdla.load_queue", "try 2"),
        ({"clock_mhz": 0.0}, "vdla.clock_mhz", "try 100"),
    ],
)
def test_an_illegal_value_is_refused_with_a_legal_neighbour(parameters: dict, field: str, legal: str):
    error = refusal(**parameters)
    assert error.field == field and legal in error.legal


def test_the_neighbour_named_is_legal():
    for name, value in (("inp_buffer", 1000), ("wgt_buffer", 256), ("aux_buffer", 64), ("block_in", 20)):
        neighbour = int(refusal(**{name: value}).legal.removeprefix("try "))
        legal: dict[str, Any] = {name: neighbour}
        assert getattr(Config(**legal), name) == neighbour


def test_fields_that_overflow_the_instruction_word_are_refused_with_their_sum():
    error = refusal(instruction_bits=128)
    assert error.field == "vdla.instruction_bits"
    assert "the word has 128" in error.reason and "dram 32" in error.reason
    needed = int(re.search(r"needs (\d+) bits", error.reason)[1])  # type: ignore[index]
    assert needed == sum(int(n) for n in re.findall(r"[a-z_]+ (\d+)", error.reason.split("(")[1]))
    assert error.legal == "try 256"


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"read_latency": 0}, "memory.read_latency"),
        ({"write_outstanding": 0}, "memory.write_outstanding"),
        ({"stall_rate": 1.0, "stall_seed": 1}, "memory.stall_rate"),
        ({"stall_rate": 0.1}, "memory.stall_seed"),
        ({"stall_seed": -1}, "memory.stall_seed"),
    ],
)
def test_an_illegal_memory_is_refused(parameters: dict, field: str):
    with pytest.raises(ConfigError) as caught:
        MemoryConfig(**parameters)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vdla: [1, 2]", "not a mapping of parameters"),
        ("- 1\n- 2", "not a mapping of sections"),
        ("vdla: {batch: 1", "not YAML"),
        ("vdla:\n  batches: 1", "did you mean batch"),
        ("vdlaa:\n  batch: 1", "did you mean vdla"),
        ("vdla:\n  block_in: sixteen", "whole number"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text: str, words: str):
    path = tmp_path / "machine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(words)):
        Config.load(path)


def test_a_missing_board_or_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean pynq-z1"):
        Config.load("pynq-1")
    with pytest.raises(ConfigError, match="cannot read"):
        Config.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot read"):
        Config.load(tmp_path)


def test_a_file_without_a_name_takes_its_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("vdla:\n  block_out: 32\n")
    assert Config.load(path) == Config(name="mine", block_out=32)


def test_with_refuses_an_unknown_parameter_and_config_is_frozen():
    cfg = Config()
    with pytest.raises(ConfigError, match="did you mean block_out"):
        cfg.with_(blockout=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.batch = 2  # type: ignore[misc]
