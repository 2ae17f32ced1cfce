"""Resets at every cycle, errors in every answer, every kind of word that is no instruction, every wrong address: a
defined status, no hang, and the next program runs right."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pytest

from hw import isa
from hw.config import Config, MemoryConfig
from hw.dependence import insert_tokens
from hw.errors import ProgramError
from hw.isa import Alu, AluOp, AluSource, Buffer, Gemm, Instruction, Load, Opcode, Requant, Store, Sync, Uop
from hw.rtl.registers import Control, Error, Status
from sim import cycle, functional
from sim.program import decode
from sim.rtl.bench import Fault
from sim.rtl.cases import SMALL
from sim.rtl.lockstep import Case
from tests.rtl.driver import Driver

CFG = SMALL[0]
PROGRAM, UOPS, DATA, RESULT = 0x800, 0x0, 0x104, 0x405
STALLING = MemoryConfig(read_latency=9, write_latency=7, stall_seed=3, stall_rate=0.3)


def every_unit() -> list[Instruction]:
    """Every buffer copied or filled, every compute instruction, results stored in several bursts: some 200 cycles."""
    param, out = CFG.param_vectors * CFG.aux_vector_bytes, CFG.out_vector_bytes
    return [
        Load(buffer=Buffer.UOP, dram=UOPS, seg=2 * CFG.uop_bytes),
        Load(buffer=Buffer.INP, dram=DATA, seg=3 * CFG.inp_vector_bytes),
        Load(buffer=Buffer.WGT, dram=DATA, seg=CFG.wgt_vector_bytes, x_size=2, x_dram=70, x_sram=CFG.wgt_vector_bytes),
        Load(buffer=Buffer.AUX, fill=True, value=3, seg=2 * param),
        Gemm(uop_count=2, iter_in=2, dst_in=1, src_in=1),
        Alu(op=AluOp.ADD, source=AluSource.ACC, iter_in=2, dst_in=1, src_base=1),
        Requant(zero_point=3, iter_in=2, dst_in=1, to_out=True),
        Sync(),
        Alu(op=AluOp.MAX, source=AluSource.IMM, imm=-7, iter_in=2, dst_in=1, out_base=2, to_out=True),
        Store(dram=RESULT, seg=2 * out, x_size=2, x_dram=2 * out, x_sram=2 * out),
        Store(dram=RESULT + 0x40, seg=3, x_size=2, x_dram=9, x_sram=5, y_size=2, y_dram=0x100, y_sram=1),
    ]


@lru_cache(maxsize=1)
def driver() -> Driver:
    memory = np.random.default_rng(0).integers(0, 256, 0x1000).astype(np.uint8)
    uops = isa.encode_uops([Uop(overwrite=True), Uop(dst=1, src=1, wgt=1)], CFG)
    memory[UOPS : UOPS + uops.size] = uops
    return Driver(Case.place(insert_tokens(every_unit(), CFG, memory), CFG, memory, PROGRAM))


def test_the_program_uses_all_there_is() -> None:
    d = driver()
    d.check_healthy()
    assert {m.OPCODE for m in d.case.program} == set(Opcode)
    assert {m.buffer for m in d.case.program if isinstance(m, Load)} == set(Buffer)
    assert (d.expected[RESULT:] != d.case.memory[RESULT:]).sum() > 20
    assert 100 < d.simulated.cycles < 400


# ---- resets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [MemoryConfig(), STALLING], ids=["calm", "stalling"])
@pytest.mark.parametrize("how", ["register", "line", "register, then line"])
def test_reset_at_every_cycle(how: str, environment: MemoryConfig) -> None:
    """From before the program's first cycle to after its last one."""
    d = driver()
    d.attach(d.case.memory.copy(), environment=environment)
    d.run(d.case.address, len(d.case.program))
    for when in range(d.recording.cycles + 8):
        d.attach(d.case.memory.copy(), environment=environment)
        d.start(d.case.address, len(d.case.program))
        d.bench.step(when, beyond=True)
        finished = not d.status & Status.BUSY
        if "register" in how:
            d.write("CONTROL", Control.RESET)
        if "line" in how:
            d.bench.reset()
            # The registers are those of a machine just switched on.
            assert d.status == Status(0) and d.read("PROGRAM_LENGTH") == d.read("RETIRED") == 0, when
        else:
            # The write takes its time: the program may have come to its end meanwhile.
            assert d.wait() in ({Status.DONE} if finished else {Status(0), Status.DONE}), when
        assert d.error == Error.NONE
        d.check_healthy()


def test_commands_while_it_stops_change_nothing() -> None:
    d = driver()
    slow = MemoryConfig(read_latency=60)
    d.attach(d.case.memory.copy(), environment=slow)
    d.start(d.case.address, len(d.case.program))
    d.bench.step(20)
    d.write("CONTROL", Control.RESET)
    assert d.status == Status.BUSY and not d.bench.idle
    for command in (Control.START, Control.RESET, Control.START | Control.RESET):
        d.write("CONTROL", command)
        d.write("PROGRAM_ADDRESS", 0x40)
    assert d.wait() == Status(0)
    assert d.read("PROGRAM_ADDRESS") == d.case.address
    d.check_healthy()
    d.write("CONTROL", Control.RESET)
    assert d.status == Status.DONE


# ---- error responses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [MemoryConfig(), STALLING], ids=["calm", "stalling"])
@pytest.mark.parametrize("response", [1, 2, 3], ids=["EXOKAY", "SLVERR", "DECERR"])
def test_error_on_every_read_beat(response: int, environment: MemoryConfig) -> None:
    """Of instructions and of data; the machine asks for no exclusive access, so EXOKAY is an error too."""
    d = driver()
    for beat in range(d.simulated.busy["read_port"]):
        d.attach(d.case.memory.copy(), Fault(read_beat=beat, response=response), environment)
        # Exactly: it has not also been DONE.
        assert d.run(d.case.address, len(d.case.program)) == Status.ERROR, beat
        assert d.error == Error.READ, beat
        assert d.read("RETIRED") < len(d.case.program)
        d.check_healthy()


@pytest.mark.parametrize("environment", [MemoryConfig(), STALLING], ids=["calm", "stalling"])
@pytest.mark.parametrize("response", [1, 2, 3], ids=["EXOKAY", "SLVERR", "DECERR"])
def test_error_on_every_write_response(response: int, environment: MemoryConfig) -> None:
    d = driver()
    bursts = 0
    while True:
        d.attach(d.case.memory.copy(), Fault(write_burst=bursts, response=response), environment)
        status = d.run(d.case.address, len(d.case.program))
        if status == Status.DONE:
            break
        assert status == Status.ERROR and d.error == Error.WRITE, bursts
        d.check_healthy()
        bursts += 1
    # One for each run: the first store is one, the second has four rows and segments.
    assert bursts == 1 + 4


def test_two_errors_at_once() -> None:
    """The first one counts; whatever comes while the machine stops changes nothing."""
    d = driver()
    for beat in range(d.simulated.busy["read_port"]):
        for burst in range(5):
            d.attach(d.case.memory.copy(), Fault(beat, burst), STALLING)
            assert d.run(d.case.address, len(d.case.program)) == Status.ERROR
            assert d.error in (Error.READ, Error.WRITE)
    d.check_healthy()


# ---- words that are no instructions -----------------------------------------------------------------------------


def encoded(instruction: Instruction, cfg: Config) -> int:
    return int.from_bytes(bytes(isa.encode_program([instruction], cfg)), "little")


def legal(opcode: Opcode) -> Instruction:
    kinds: dict[Opcode, Instruction] = {
        Opcode.LOAD: Load(buffer=Buffer.INP),
        Opcode.STORE: Store(),
        Opcode.GEMM: Gemm(),
        Opcode.ALU: Alu(op=AluOp.ADD, source=AluSource.ACC),
        Opcode.REQUANT: Requant(),
        Opcode.SYNC: Sync(),
    }
    return kinds[opcode]


def malformed(cfg: Config) -> Iterator[tuple[str, int]]:
    """Every class of illegal word, field by field."""
    for code in set(range(1 << isa.OPCODE_BITS)) - {int(o) for o in Opcode}:
        yield f"opcode {code}", code
    for opcode in Opcode:
        word, layout = encoded(legal(opcode), cfg), isa.fields(opcode, cfg)
        name = opcode.name
        end = layout[-1].offset + layout[-1].width
        for bit in range(end, cfg.instruction_bits):
            yield f"{name} with bit {bit}", word | 1 << bit
        for field in layout[1:]:
            clear = word & ~(((1 << field.width) - 1) << field.offset)
            if field.name in ("seg", "x_size", "y_size", "uop_count", "iter_out", "iter_in"):
                yield f"{name} with {field.name} 0", clear
            if field.kind in (AluOp, AluSource):
                for code in set(range(1 << field.width)) - {int(k) for k in field.kind}:
                    yield f"{name} with {field.name} {code}", clear | code << field.offset
            side = {Opcode.LOAD: "prev", Opcode.STORE: "next"}.get(opcode)
            if side is not None and field.name in (f"pop_{side}", f"push_{side}"):
                yield f"{name} with {field.name}", word | 1 << field.offset
    yield "MULADD of an immediate", encoded(Alu(op=AluOp.MULADD, source=AluSource.IMM), cfg)
    for low, high in ((1, 0), (-1, -2), (0, -1), (511, -512)):
        yield f"REQUANT with bounds {low}, {high}", encoded(Requant(low=low, high=high), cfg)


def test_every_malformed_instruction() -> None:
    """In the middle of a program; the simulators refuse the same words."""
    d = driver()
    index, size = 5, CFG.instruction_bytes
    at = d.case.address + index * size
    classes = dict(malformed(CFG))
    assert len(classes) > 200
    for name, word in classes.items():
        memory = d.case.memory.copy()
        memory[at : at + size] = np.frombuffer(word.to_bytes(size, "little"), np.uint8)
        with pytest.raises(ProgramError) as caught:
            decode(memory, d.case.address, len(d.case.program), CFG)
        assert caught.value.index == index, name
        d.attach(memory)
        assert d.run(d.case.address, len(d.case.program)) == Status.ERROR, name
        assert d.error == Error.INSTRUCTION, name
        d.check_healthy()


def test_what_is_legal_is_not_refused() -> None:
    """Each word that the illegal ones are made from."""
    d = driver()
    for opcode in Opcode:
        case = Case.place([legal(opcode)], CFG, np.zeros(1 << 13, np.uint8), 0x1000)
        d.attach(case.memory)
        assert d.run(case.address, 1) == Status.DONE, opcode.name
    d.check_healthy()


# ---- addresses --------------------------------------------------------------------------------------------------


def test_program_of_any_alignment() -> None:
    """Only one that is a multiple of both bus word and instruction is run."""
    d = driver()
    step = max(CFG.bus_bytes, CFG.instruction_bytes)
    for offset in range(1, step):
        assert d.run(d.case.address + offset, len(d.case.program)) == Status.ERROR, offset
        assert d.error == Error.PROGRAM and d.bench.idle
    for address, count in ((1 << 32) - step, 2), (0, (1 << 32) // step + 1), (step, (1 << 32) - 1):
        assert d.run(address, count) == Status.ERROR
        assert d.error == Error.PROGRAM
    d.check_healthy()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_shortest_programs(count: int) -> None:
    d = driver()
    case = Case.place([Sync()] * 2, CFG, np.zeros(1 << 13, np.uint8), 0x1000)
    d.attach(case.memory)
    assert d.run(case.address, count) == Status.DONE
    assert (d.error, d.read("RETIRED")) == (Error.NONE, count)
    expected = cycle.run(case.memory.copy(), case.address, count, CFG).cycles
    assert d.read("CYCLES_LOW") == expected
    d.check_healthy()


def test_data_of_any_alignment() -> None:
    """Loads and stores of any length from any byte to any byte of a buffer."""
    d = driver()
    bus = CFG.bus_bytes
    for offset in range(bus):
        for length in (1, 2, bus - 1, bus, bus + 1, 2 * bus + 3):
            program: list[Instruction] = [
                Load(buffer=Buffer.UOP, dram=UOPS, seg=CFG.uop_bytes),
                Load(buffer=Buffer.INP, dram=DATA + offset, sram=(offset * 3) % bus, seg=length),
                Gemm(),
                Alu(op=AluOp.ADD, source=AluSource.IMM, to_out=True, iter_in=4, dst_in=1),
                Store(dram=RESULT + offset, sram=offset, seg=length),
            ]
            case = Case.place(insert_tokens(program, CFG, d.case.memory), CFG, d.case.memory, PROGRAM)
            expected = case.memory.copy()
            timed = cycle.run(expected, case.address, len(case.program), CFG)
            d.attach(case.memory)
            assert d.run(case.address, len(case.program)) == Status.DONE
            assert d.recording.cycles == timed.cycles
            changed = np.flatnonzero(expected != case.memory)
            assert changed.size == 0, (offset, length, changed)
    d.check_healthy()


def test_transfers_around_the_end_of_the_address_space() -> None:
    """They go on at address 0; where there is memory, as any other transfer."""
    d = driver()
    # The system gives pages when they are touched.
    memory = np.zeros(1 << 32, np.uint8)
    source = np.arange(1, 97).astype(np.uint8)
    memory[-40:], memory[:56] = source[:40], source[40:]
    uops = isa.encode_uops([Uop(overwrite=True)], CFG)
    memory[0x400 : 0x400 + uops.size] = uops
    program: list[Instruction] = [
        Load(buffer=Buffer.UOP, dram=0x400, seg=uops.size),
        Load(buffer=Buffer.AUX, dram=(1 << 32) - 40, seg=96, push_next=True),
        Alu(
            op=AluOp.ADD,
            source=AluSource.AUX,
            iter_in=12,
            dst_in=1,
            src_in=1,
            to_out=True,
            pop_prev=True,
            push_next=True,
        ),
        Store(dram=(1 << 32) - 21, seg=96, pop_prev=True),
    ]
    words = isa.encode_program(program, CFG)
    memory[PROGRAM : PROGRAM + words.size] = words
    with pytest.raises(ProgramError, match="dram"):
        functional.run(memory, PROGRAM, len(program), CFG)
    d.attach(memory)
    assert d.run(PROGRAM, len(program)) == Status.DONE
    np.testing.assert_array_equal(memory[-21:], source[:21])
    np.testing.assert_array_equal(memory[:75], source[21:])
    assert memory[-22] == source[18] and memory[75] == 0
    d.check_healthy()


@pytest.mark.parametrize(
    "instruction, error",
    [
        (Load(buffer=Buffer.INP, dram=(1 << 32) - 16, seg=64), Error.READ),
        (Load(buffer=Buffer.INP, dram=0x8000_0001, seg=5), Error.READ),
        (Load(buffer=Buffer.WGT, dram=0xFF0, seg=64, x_size=9, x_dram=0x00FF_FFFF), Error.READ),
        (Store(dram=(1 << 32) - 8, seg=30), Error.WRITE),
        (Store(dram=0x1FF9, seg=8), Error.WRITE),
    ],
    ids=str,
)
def test_addresses_without_memory(instruction: Instruction, error: Error) -> None:
    """The memory's answer decides, in the middle of the transfer too."""
    d = driver()
    case = Case.place([instruction], CFG, np.zeros(1 << 13, np.uint8), 0x1000)
    d.attach(case.memory)
    assert d.run(case.address, 1) == Status.ERROR
    assert d.error == error
    d.check_healthy()


@pytest.mark.parametrize(
    "instruction",
    [
        *(Load(buffer=b, sram=getattr(CFG, f"{b.name.lower()}_buffer") - 1, seg=9) for b in Buffer),
        *(Load(buffer=b, fill=True, sram=(1 << CFG.sram_address_bits) - 1, seg=99) for b in Buffer),
        *(Load(buffer=b, sram=0, seg=1, y_size=300, y_sram=(1 << CFG.sram_address_bits) - 1) for b in Buffer),
        Store(dram=RESULT, sram=CFG.out_buffer - 1, seg=9),
        Store(dram=RESULT, sram=(1 << CFG.sram_address_bits) - 1, seg=2),
        Gemm(uop_begin=CFG.uop_depth - 1, uop_count=2),
        Gemm(dst_base=CFG.acc_depth - 1, iter_in=3, dst_in=1),
        Gemm(src_base=CFG.inp_depth - 1, iter_in=3, src_in=1),
        Gemm(wgt_base=CFG.wgt_depth - 1, iter_in=3, wgt_in=1),
        Alu(op=AluOp.ADD, source=AluSource.ACC, src_base=CFG.acc_depth - 1, iter_in=3, src_in=1),
        Alu(op=AluOp.ADD, source=AluSource.AUX, src_base=CFG.aux_depth - 1, iter_in=3, src_in=1),
        Alu(op=AluOp.ADD, source=AluSource.IMM, to_out=True, out_base=CFG.out_depth - 1, iter_in=3, dst_in=1),
        Requant(src_base=CFG.aux_depth - 1),
    ],
    ids=str,
)
def test_places_outside_their_buffer(instruction: Instruction) -> None:
    """The simulators refuse the program; the machine runs it to its end, and the next one right."""
    d = driver()
    program: list[Instruction] = [
        Load(buffer=Buffer.UOP, dram=UOPS, seg=CFG.uop_buffer // CFG.uop_bytes * CFG.uop_bytes)
    ]
    program += [
        Load(buffer=Buffer.UOP, fill=True, seg=CFG.uop_buffer, push_next=True),
        Sync(pop_prev=True),
        instruction,
    ]
    case = Case.place(program, CFG, np.zeros(1 << 13, np.uint8), 0x1000)
    with pytest.raises(ProgramError):
        cycle.run(case.memory.copy(), case.address, len(program), CFG)
    d.attach(case.memory)
    before = case.memory.copy()
    assert d.run(case.address, len(program)) == Status.DONE
    # Nothing reaches DRAM outside of what a store names.
    if not isinstance(instruction, Store):
        np.testing.assert_array_equal(case.memory, before)
    d.check_healthy()
