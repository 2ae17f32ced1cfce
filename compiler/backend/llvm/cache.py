"""Compiled objects kept on disk, found by the content of what they were compiled from; and small facts beside them.

The key covers the functions node by node, everything that the code generator is told, its own source and LLVM's
version; so nothing in the cache is ever out of date. Entries carry a checksum and come into being by renaming: a crash
or two compilers at once leave no wrong one.

$VDLA_CACHE_DIR names the folder (default: ~/.cache/vdla/objects); empty, nothing is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

import llvmlite
import llvmlite.binding as llvm

from compiler.ir import (
    Allocate,
    Attr,
    Buffer,
    Call,
    Evaluate,
    Expr,
    FloatImm,
    For,
    If,
    IntImm,
    Load,
    PrimFunc,
    Seq,
    Stmt,
    Store,
    Var,
)
from compiler.sources import source_digest

VARIABLE = "VDLA_CACHE_DIR"
#: entries of a kind kept; beyond it the ones longest unused are dropped
MOST_OBJECTS = 1024
_CHECKSUM_BYTES = 32


def cached(fingerprints: Iterable[bytes], settings: object, compile_: Callable[[], bytes]) -> bytes:
    """The object of the functions that have these fingerprints: from the cache, else compiled and kept.

    settings: everything else that decides what `compile_` returns, as something whose repr says it all.
    """
    if _folder() is None:
        return compile_()
    digest = sha256(repr((code_generator(), settings)).encode())
    for function in fingerprints:
        digest.update(function)
    found = recall(digest.hexdigest())
    if found is None:
        found = compile_()
        remember(digest.hexdigest(), found)
    return found


def recall(key: str) -> bytes | None:
    """What was kept under a key, a file's name."""
    folder = _folder()
    return None if folder is None else _read(folder / key)


def remember(key: str, content: bytes) -> None:
    """Keep something for `recall`, if there is a cache. Keys with one ending crowd out only each other."""
    folder = _folder()
    if folder is not None:
        with suppress(OSError):  # a full or read-only disk costs time, nothing else
            _write(folder / key, content)


def _folder() -> Path | None:
    given = os.environ.get(VARIABLE)
    if given == "":
        return None
    try:
        return Path(given) if given else Path.home() / ".cache" / "vdla" / "objects"
    except RuntimeError:  # no home
        return None


def code_generator() -> tuple[object, ...]:
    """The code generator's own source, and what it calls."""
    return llvmlite.__version__, llvm.llvm_version_info, source_digest(Path(__file__).parent)


def _read(path: Path) -> bytes | None:
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    payload = raw[_CHECKSUM_BYTES:]
    if sha256(payload).digest() != raw[:_CHECKSUM_BYTES]:
        return None
    with suppress(OSError):
        os.utime(path)
    return payload


def _write(path: Path, payload: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        try:
            file.write(sha256(payload).digest() + payload)
            file.close()
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
            raise
    alike = [entry for entry in path.parent.iterdir() if entry.suffix == path.suffix]
    kept = sorted(alike, key=lambda entry: entry.stat().st_mtime)
    for old in kept[: max(0, len(kept) - MOST_OBJECTS)]:
        old.unlink(missing_ok=True)


def fingerprint(func: PrimFunc) -> bytes:
    """A hash of a function up to the names of variables and buffers: equal for equal code, and only for it."""
    numbers: dict[object, int] = {}
    parts: list[str] = [func.name, repr(sorted(func.attrs.items()))]

    def buffer(b: Buffer) -> int:
        if b not in numbers:
            numbers[b] = len(numbers)
            parts.append(f"buffer {numbers[b]} {b.dtype} {b.shape} {b.strides} {b.scope}")
        return numbers[b]

    def expr(e: Expr) -> int:
        known = numbers.get(e)
        if known is not None:
            return known
        children = [expr(child) for child in e.children]
        own: object = None
        if isinstance(e, IntImm | FloatImm):
            own = repr(e.value)
        elif isinstance(e, Load):
            own = buffer(e.buffer)
        elif isinstance(e, Call):
            own = e.name, [a for a in e.args if isinstance(a, str)]
        else:
            own = getattr(e, "op", None)
        numbers[e] = len(numbers)
        parts.append(f"{numbers[e]} {type(e).__name__} {e.dtype} {own} {children}")
        return numbers[e]

    def lines(s: Stmt) -> Iterator[str]:
        if isinstance(s, Seq):
            for child in s.stmts:
                yield from lines(child)
        elif isinstance(s, For):
            variable: Var = s.var
            yield f"for {expr(variable)} {s.extent} {s.kind} {s.thread_tag} {sorted(s.annotations.items())}"
            yield from lines(s.body)
            yield "end"
        elif isinstance(s, Store):
            yield f"store {buffer(s.buffer)} {[expr(i) for i in s.indices]} {expr(s.value)}"
        elif isinstance(s, If):
            yield f"if {expr(s.cond)}"
            yield from lines(s.then)
            if s.otherwise is not None:
                yield "else"
                yield from lines(s.otherwise)
            yield "end"
        elif isinstance(s, Allocate):
            yield f"allocate {buffer(s.buffer)}"
            yield from lines(s.body)
            yield "end"
        elif isinstance(s, Attr):
            yield f"attribute {s.key} {s.value!r}"
            yield from lines(s.body)
            yield "end"
        elif isinstance(s, Evaluate):
            yield f"evaluate {expr(s.value)}"
        else:
            raise TypeError(type(s).__name__)

    for parameter in func.params:
        buffer(parameter)
    for line in lines(func.body):
        parts.append(line)
    return sha256("\n".join(parts).encode()).digest()
