"""Loading of compiled objects for these tests."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

from compiler.backend.llvm import compile_functions
from compiler.ir import PrimFunc

Native = dict[str, Callable[..., None]]


def load(funcs: Sequence[PrimFunc], **options: Any) -> Native:
    """Compile ``funcs`` and return them as callables on numpy arrays."""
    obj = compile_functions(funcs, **options)
    jit = llvm.create_lljit_compiler()
    builder = llvm.JITLibraryBuilder().add_object_img(obj).add_current_process()
    for f in funcs:
        builder.export_symbol(f.name)
    library = builder.link(jit, "test")

    def bind(f: PrimFunc) -> Callable[..., None]:
        fn = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(f.params))(library[f.name])

        def call(*arrays: np.ndarray) -> None:
            assert jit is not None and library is not None  # the code lives as long as these
            fn(*(a.ctypes.data for a in arrays))

        return call

    return {f.name: bind(f) for f in funcs}


@pytest.fixture
def native() -> Callable[..., Native]:
    return load
