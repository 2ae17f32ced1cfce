"""What LLVM aborts on takes the helper process down, not this one."""

from __future__ import annotations

import os

import pytest

from compiler.backend.llvm import Machine
from compiler.backend.llvm.worker import Worker
from compiler.errors import CodegenError

TRIPLE = "aarch64-unknown-linux-gnu"
GOOD = f'target triple = "{TRIPLE}"\ndefine i32 @f(i32 %x) {{\n  ret i32 %x\n}}\n'
# LLVM has no assembler for this processor here, and aborts when it needs one
ABORTS = GOOD.replace("  ret", '  call void asm sideeffect "nop", ""()\n  ret')


@pytest.fixture
def machine() -> Machine:
    return Machine.get(TRIPLE, "cortex-a53")


def test_an_abort_is_an_error(machine: Machine) -> None:
    with pytest.raises(CodegenError, match="gave up compiling for aarch64.*cortex-a53.*Inline asm not supported"):
        machine.compile([ABORTS])
    assert machine.compile([GOOD])[:4] == b"\x7fELF"  # by a new helper


def test_a_refusal_leaves_the_helper_alive(machine: Machine) -> None:
    worker = Worker()
    try:
        first = worker.compile(machine, [GOOD], None)
        process = worker._process
        with pytest.raises(CodegenError, match="LLVM refuses the code for aarch64.*"):
            worker.compile(machine, ["this is no module"], None)
        assert worker.compile(machine, [GOOD], None) == first
        assert worker._process is process and process is not None and process.poll() is None
    finally:
        worker.close()


def test_the_helper_compiles_as_this_process_does(machine: Machine) -> None:
    assert machine.compile([GOOD]) == machine.emit([GOOD])


def test_a_forked_process_gets_a_helper_of_its_own(machine: Machine) -> None:
    worker = Worker()
    try:
        expected = worker.compile(machine, [GOOD], None)
        child = os.fork()
        if child == 0:  # pragma: no cover
            same = worker.compile(machine, [GOOD], None) == expected
            worker.close()
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert worker.compile(machine, [GOOD], None) == expected
    finally:
        worker.close()


def test_exports_hide_the_rest(machine: Machine) -> None:
    more = f'target triple = "{TRIPLE}"\ndefine i32 @hidden(i32 %x) noinline {{\n  ret i32 %x\n}}\n'
    assert b"hidden" in machine.compile([GOOD, more])
    assert b"hidden" not in machine.compile([GOOD, more], ["f"])
