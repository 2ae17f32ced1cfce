"""Vendors' scripts without their tools: Tcl runs them, and each command that it does not know is written down."""

from __future__ import annotations

import subprocess
from pathlib import Path

RECORDER = r"""
set record [open [lindex $argv 1] w]
proc unknown {args} {
    puts $::record [string map {\n { }} $args]
    return $args
}
rename package real_package
proc package {what args} {
    if {$args eq {-exact qsys 16.1}} { return 16.1 }
    return [real_package $what {*}$args]
}
if {[catch {uplevel #0 [list source [lindex $argv 0]]} message]} { puts $record [list FAILED $message] }
close $record
"""


def commands_of(script: Path) -> list[list[str]]:
    """The commands that a script gives its tool, each as its words; one that fails ends with ``FAILED`` and why."""
    recorder, log = script.with_suffix(".recorder"), script.with_suffix(".record")
    recorder.write_text(RECORDER, encoding="utf-8")
    subprocess.run(["tclsh", recorder, script, log], check=True, capture_output=True)
    return words_of(log)


def words_of(log: Path) -> list[list[str]]:
    """A file's lines as Tcl takes them apart: each is a list."""
    split = f"set f [open {log}]; while {{[gets $f line] >= 0}} {{foreach word $line {{puts $word}}; puts \\x01}}"
    said = subprocess.run(["tclsh"], input=split, text=True, check=True, capture_output=True).stdout
    return [command.strip("\n").split("\n") for command in said.split("\x01") if command.strip()]
