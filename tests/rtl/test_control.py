"""Control registers, errors and resets: a defined status, no hang, and the next program runs right."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from hw import isa
from hw.config import MemoryConfig
from hw.isa import Alu, AluOp, AluSource, Gemm, Instruction, Load, Store, Sync, Unit
from hw.rtl.registers import REGISTERS, Control, Error, Status
from hw.timing import CAUSES
from sim.program import F
from sim.rtl.bench import Fault
from sim.rtl.cases import SMALL, random_case
from sim.rtl.lockstep import Case
from tests.rtl.driver import Driver

CFG = SMALL[0]


@lru_cache(maxsize=1)
def driver() -> Driver:
    return Driver(random_case(5, CFG, 12))


def test_registers_say_what_happened() -> None:
    d = driver()
    d.check_healthy()
    simulated = d.simulated
    assert d.read("RETIRED") == len(d.case.program)
    assert d.read("CYCLES_LOW") == simulated.cycles and d.read("CYCLES_HIGH") == 0
    assert f"{d.read('FINGERPRINT_HIGH'):08x}{d.read('FINGERPRINT_LOW'):08x}" == CFG.fingerprint
    assert {c: d.read(f"CYCLES_{c.upper()}") for c in CAUSES} == simulated.totals
    assert {u.name.lower(): d.read(f"BUSY_{u.name}") for u in Unit} == {
        u.name.lower(): simulated.busy[u.name.lower()] for u in Unit
    }


def test_what_is_no_register_reads_as_zero() -> None:
    d = driver()
    assert d.read("CONTROL") == 0
    assert d.bench.read(4 * len(REGISTERS)) == 0


def test_interrupt() -> None:
    d = driver()
    d.check_healthy()
    assert not d.bench.interrupt
    d.write("INTERRUPT_ENABLE", 1)
    assert d.bench.interrupt
    d.write("STATUS", Status.DONE)
    assert not d.bench.interrupt and d.status == Status(0)
    d.write("INTERRUPT_ENABLE", 0)


def test_only_a_write_to_the_status_clears_it() -> None:
    d = driver()
    d.check_healthy()
    for name in ("PROGRAM_ADDRESS", "PROGRAM_LENGTH", "INTERRUPT_ENABLE"):
        d.write(name, 0xFFFF_FFFF)
        assert d.status == Status.DONE
    d.write("INTERRUPT_ENABLE", 0)
    d.write("STATUS", Status.ERROR)
    assert d.status == Status.DONE
    d.check_healthy()


@pytest.mark.parametrize("address, count", [(8, 1), (0x1004, 1), (0xFFFF_FFE0, 2), (0x20, 0xFFFF_FFFF)])
def test_misplaced_program(address: int, count: int) -> None:
    d = driver()
    assert d.run(address, count) == Status.ERROR
    assert d.error == Error.PROGRAM
    d.check_healthy()


def bad_words() -> dict[str, int]:
    """Instruction words that are none."""
    load = isa.encode(Load(buffer=isa.Buffer.INP), CFG)
    word = int.from_bytes(bytes(load), "little") if not isinstance(load, int) else load
    fields = {f.name: f for f in isa.fields(isa.Opcode.LOAD, CFG)}

    def without(name: str) -> int:
        return word & ~(((1 << fields[name].width) - 1) << fields[name].offset)

    return {
        "opcode 0": 0,
        "opcode 7": word | 7,
        "pop_prev of load": word | 1 << fields["pop_prev"].offset,
        "push_prev of load": word | 1 << fields["push_prev"].offset,
        "no segments": without("x_size"),
        "no rows": without("y_size"),
        "no bytes": without("seg"),
    }


@pytest.mark.parametrize("name", bad_words())
@pytest.mark.parametrize("index", [0, 3, 9])
def test_malformed_instruction(name: str, index: int) -> None:
    d = driver()
    memory = d.case.memory.copy()
    at = d.case.address + index * CFG.instruction_bytes
    memory[at : at + CFG.instruction_bytes] = np.frombuffer(
        bad_words()[name].to_bytes(CFG.instruction_bytes, "little"), np.uint8
    )
    d.attach(memory)
    assert d.run(d.case.address, len(d.case.program)) == Status.ERROR
    assert d.error == Error.INSTRUCTION
    d.check_healthy()


def test_error_on_any_read_beat() -> None:
    d = driver()
    loads = d.simulated.program.column(F.OPCODE) == isa.Opcode.LOAD
    beats = int(d.simulated.beats[loads].sum()) + d.simulated.fetch_beats
    for beat in sorted({*range(0, beats, 7), beats - 1}):
        d.attach(d.case.memory.copy(), Fault(read_beat=beat, response=2 + beat % 2))
        assert d.run(d.case.address, len(d.case.program)) & Status.ERROR, f"beat {beat}"
        assert d.error == Error.READ, f"beat {beat}"
        d.check_healthy()


def test_error_on_any_write_burst() -> None:
    stores: list[Instruction] = [
        Alu(op=AluOp.ADD, source=AluSource.IMM, imm=5, to_out=True, iter_in=8, dst_in=1, push_next=True),
        *(Store(dram=0x100 * k, seg=40, pop_prev=k == 0) for k in range(5)),
    ]
    uops: list[Instruction] = [Load(buffer=isa.Buffer.UOP, seg=4, push_next=True), Sync(pop_prev=True)]
    d = Driver(Case.place(uops + stores, CFG, np.zeros(1 << 14, np.uint8), 0x2000))
    d.check_healthy()
    for burst in range(5):
        d.attach(d.case.memory.copy(), Fault(write_burst=burst, response=2 + burst % 2))
        assert d.run(d.case.address, len(d.case.program)) & Status.ERROR, f"burst {burst}"
        assert d.error == Error.WRITE, f"burst {burst}"
        d.check_healthy()
    d.bench.close()


@pytest.mark.parametrize("hard", [False, True], ids=["register", "reset line"])
def test_reset_at_any_cycle(hard: bool) -> None:
    d = driver()
    rng = np.random.default_rng(hard)
    environment = MemoryConfig(read_latency=9, write_latency=7, stall_seed=3, stall_rate=0.3)
    for cycle in sorted({*range(12), *rng.integers(12, d.simulated.cycles, 60).tolist()}):
        d.attach(d.case.memory.copy(), environment=environment)
        d.start(d.case.address, len(d.case.program))
        d.bench.step(int(cycle))
        if hard:
            d.bench.reset()
        else:
            d.write("CONTROL", Control.RESET)
            assert not d.wait() & Status.ERROR
        d.check_healthy()


def test_start_while_busy_changes_nothing() -> None:
    d = driver()
    d.attach(d.case.memory.copy())
    d.start(d.case.address, len(d.case.program))
    d.bench.step(50)
    d.write("PROGRAM_ADDRESS", 0)
    d.write("PROGRAM_LENGTH", 1)
    d.write("CONTROL", Control.START)
    assert d.bench.step(100_000)
    assert d.status == Status.DONE and d.read("RETIRED") == len(d.case.program)
    np.testing.assert_array_equal(d.memory, d.expected)
    d.check_healthy()


def test_a_deadlocked_program_can_be_abandoned() -> None:
    d = driver()
    stuck: list[Instruction] = [Sync(pop_prev=True), Gemm()]
    case = Case.place(stuck, CFG, np.zeros(1 << 13, np.uint8), 0x1000)
    d.attach(case.memory)
    d.start(case.address, 2)
    assert not d.bench.step(5000)
    assert d.status == Status.BUSY
    d.write("CONTROL", Control.RESET)
    assert d.wait() == Status(0)
    d.check_healthy()


def test_memory_of_any_size_behaves() -> None:
    """The same program from the same state, with other memories, leaves the same bytes."""
    d = driver()
    for environment in (MemoryConfig(read_latency=1, read_outstanding=1), MemoryConfig(stall_seed=9, stall_rate=0.9)):
        other = Driver(replace(d.case, cfg=CFG.with_(memory=environment)))
        other.check_healthy()
        np.testing.assert_array_equal(other.memory, d.expected)
        other.bench.close()
