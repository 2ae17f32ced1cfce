"""A group's function, lowered when somebody reads its loops.

Most of a compilation is lowering, and a network that was compiled before has all its objects in the cache
(`compiler.backend.llvm.cache`). What finding them needs - names, workspaces, a fingerprint - is remembered beside them,
under what a function follows from: the group's signature, the schedule's decisions, the processor and the compiler's
own source. So nothing that is remembered is ever out of date.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import compiler
from compiler.backend.llvm.cache import fingerprint, recall, remember
from compiler.backend.llvm.intrinsics import invoked
from compiler.ir import PrimFunc
from compiler.ir.count import operations
from compiler.sources import source_digest

_KIND = ".function"
_COMPILER = Path(str(compiler.__file__)).parent


@dataclass(frozen=True)
class Facts:
    """What is known of a function without its loops.

    fingerprint: `compiler.backend.llvm.cache.fingerprint`. params: (name, shape, dtype) of each parameter's buffer.
    contract: whether a multiplication and an addition may become one. llvm_calls: LLVM's own functions that it calls.
    operations: that it executes, see `compiler.ir.count`; those that LLVM's functions stand for are not in it.
    """

    name: str
    fingerprint: bytes
    params: tuple[tuple[str, tuple[int, ...], str], ...]
    contract: bool
    llvm_calls: tuple[str, ...]
    operations: int

    @staticmethod
    def of(func: PrimFunc) -> Facts:
        """Those of a function."""
        params = tuple((buffer.name, tuple(buffer.shape), buffer.dtype) for buffer in func.params)
        contract, calls = bool(func.attrs["contract"]), tuple(sorted(invoked(func)))
        return Facts(func.name, fingerprint(func), params, contract, calls, operations(func))

    def to_bytes(self) -> bytes:
        """As bytes for `from_bytes`."""
        params = [[name, list(shape), dtype] for name, shape, dtype in self.params]
        rest = (self.contract, self.llvm_calls, self.operations)
        return json.dumps([self.name, self.fingerprint.hex(), params, *rest]).encode()

    @staticmethod
    def from_bytes(raw: bytes) -> Facts:
        """What `to_bytes` wrote."""
        name, digest, params, contract, calls, count = json.loads(raw)
        named = tuple((n, tuple(shape), dtype) for n, shape, dtype in params)
        return Facts(name, bytes.fromhex(digest), named, contract, tuple(calls), count)


class Lowered:
    """A function of which `facts` are known; `func` lowers it if that has not happened yet."""

    def __init__(self, facts: Facts | None, lower: Callable[[], PrimFunc]) -> None:
        self._lower = lower
        self.facts = facts or Facts.of(self.func)

    @cached_property
    def func(self) -> PrimFunc:
        """The function."""
        return self._lower()


def lowered(follows_from: Hashable, lower: Callable[[], PrimFunc]) -> Lowered:
    """The function that `lower` makes; if it was made before from the same, in whatever process, it waits."""
    key = sha256(repr((source_digest(_COMPILER), follows_from)).encode()).hexdigest() + _KIND
    raw = recall(key)
    result = Lowered(None if raw is None else Facts.from_bytes(raw), lower)
    if raw is None:
        remember(key, result.facts.to_bytes())
    return result


def described(facts: Mapping[str, object]) -> Hashable:
    """Fields of a processor, or decisions of a schedule, as part of what `lowered` takes: the same in every process."""
    plain = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in facts.items()}
    return repr(sorted(plain.items()))
