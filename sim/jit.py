"""A small compiler from a subset of Python to machine code, for the simulators' inner loops.

A kernel is a plain Python function marked with `@kernel`. Its parameters are annotated with what they are:

* the first, `c`, is the compile-time namespace: `c.block_in` is a constant of the generated code, and an `if` on
  such constants keeps only the branch taken;
* `int` is a 64-bit integer;
* `I8 U8 I32 I64 F32` are pointers to arrays that do not overlap any other argument's array.

The subset: assignments, `if`, `while`, `for ... in range(...)`, `for ... in unroll(...)` (a constant count, unrolled),
`break`, `continue`, `return`, arithmetic, comparisons, `and/or/not`, conditional expressions, calls of other kernels,
and `min max i32 i64 f32 where lane total invoke`. Integers wrap at their width. Elements of I8, U8, I32 arrays read as
32-bit integers, those of I64 as 64-bit; storing truncates. `a[i : i + n]` with constant `n` is a vector of `n`
elements, and scalars broadcast. A variable keeps the type of its first assignment.

The machine code is kept in the user's cache directory, keyed by everything that went into it, so that a second process
loads it in milliseconds.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import inspect
import os
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import EnumMeta
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np

# Annotations of pointer parameters; told apart by their spelling, not by their value.
I8 = Any
U8 = Any
I32 = Any
I64 = Any
F32 = Any

_DTYPES = {"I8": np.int8, "U8": np.uint8, "I32": np.int32, "I64": np.int64, "F32": np.float32}


def i32(value: Any) -> Any:
    """Conversion to 32-bit integers (inside kernels only)."""
    raise RuntimeError("i32() has a meaning only inside a kernel")


def i64(value: Any) -> Any:
    """Conversion to 64-bit integers, sign extended (inside kernels only)."""
    raise RuntimeError("i64() has a meaning only inside a kernel")


def f32(value: Any) -> Any:
    """Conversion to 32-bit floating point (inside kernels only)."""
    raise RuntimeError("f32() has a meaning only inside a kernel")


def where(condition: Any, then: Any, other: Any) -> Any:
    """Lane-wise choice; both sides are evaluated (inside kernels only)."""
    raise RuntimeError("where() has a meaning only inside a kernel")


def lane(vector: Any, index: int) -> Any:
    """One element of a vector value; `index` is constant (inside kernels only)."""
    raise RuntimeError("lane() has a meaning only inside a kernel")


def total(vector: Any) -> Any:
    """Sum of an integer vector's elements (inside kernels only)."""
    raise RuntimeError("total() has a meaning only inside a kernel")


def invoke(address: int, *arguments: Any) -> int:
    """Call the compiled kernel at `address` (see `Library.addresses`; inside kernels only)."""
    raise RuntimeError("invoke() has a meaning only inside a kernel")


def unroll(count: int) -> range:
    """`range(count)` whose loop is unrolled at compile time (inside kernels only)."""
    return range(count)


class KernelError(Exception):
    """A kernel uses something outside the subset: a mistake in this package, never a user's."""


@dataclass(frozen=True)
class Kernel:
    """One function of the subset, parsed."""

    name: str
    tree: ast.FunctionDef = field(repr=False, compare=False)
    source: str = field(repr=False)
    parameters: tuple[tuple[str, str], ...]
    scope: dict[str, Any] = field(repr=False, compare=False)

    def __call__(self, *args: Any) -> Any:
        raise KernelError(f"kernel {self.name} runs only after build()")


def kernel(function: Callable[..., Any]) -> Kernel:
    """Mark `function` as a kernel (see the module's text for the subset)."""
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise KernelError(f"{function!r} is not a plain function")
    parameters = tuple((a.arg, ast.unparse(a.annotation) if a.annotation else "int") for a in tree.args.args[1:])
    return Kernel(tree.name, tree, source, parameters, function.__globals__)


@dataclass
class Library:
    """Compiled kernels. `library["name"](...)` takes numpy arrays and integers, and returns an int."""

    functions: dict[str, Callable[..., int]]
    addresses: dict[str, int]
    _keep: Any = field(repr=False)

    def __getitem__(self, name: str) -> Callable[..., int]:
        return self.functions[name]


def cache_directory() -> Path:
    """Where compiled kernels are kept: `$VDLA_CACHE_DIR`, else `$XDG_CACHE_HOME/vdla`, else `~/.cache/vdla`."""
    if os.environ.get("VDLA_CACHE_DIR"):
        return Path(os.environ["VDLA_CACHE_DIR"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vdla"


def build(entries: Sequence[Kernel], constants: Mapping[str, int]) -> Library:
    """Compile `entries` and what they call, with the values `constants` of the namespace `c`; uses the cache."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    kernels = _reachable(entries)
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    parts = [llvmlite.__version__, cpu, features, repr(sorted(constants.items())), _OWN_SOURCE]
    parts += [k.source + repr(_global_constants(k)) for k in kernels] + [k.name for k in entries]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    path = cache_directory() / f"kernels-{key}.o"
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default"
    )
    image = _fetch(path)
    if image is None:
        image = _emit(kernels, entries, constants, machine)
        _store(path, image)
    jit = llvm.create_lljit_compiler(machine)
    linker = llvm.JITLibraryBuilder().add_object_img(image)
    for entry in entries:
        linker = linker.export_symbol(entry.name)
    tracker = linker.add_current_process().link(jit, "sim")
    functions = {entry.name: _entry(entry, tracker[entry.name], (jit, tracker)) for entry in entries}
    return Library(functions, {entry.name: tracker[entry.name] for entry in entries}, (jit, tracker))


def _fetch(path: Path) -> bytes | None:
    """The object code in a cache entry, which its SHA-256 precedes; None if it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[32:] if hashlib.sha256(data[32:]).digest() == data[:32] else None


def _store(path: Path, image: bytes) -> None:
    """Write the cache entry atomically; a cache that cannot be written only costs time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(image).digest() + image)
        os.replace(temporary, path)
    except OSError:
        return


def _entry(entry: Kernel, address: int, code: Any) -> Callable[..., int]:
    """A checked Python function around the machine code at `address`, which lives as long as `code`."""
    raw = ctypes.CFUNCTYPE(ctypes.c_int64, *[_ctype(kind) for _, kind in entry.parameters])(address)
    kinds = [_DTYPES.get(kind) for _, kind in entry.parameters]

    def call(*args: Any) -> int:
        if len(args) != len(kinds):
            raise KernelError(f"{entry.name} takes {len(kinds)} arguments, got {len(args)}")
        values = []
        for value, dtype in zip(args, kinds, strict=True):
            if dtype is None:
                values.append(int(value))
                continue
            if value.dtype != dtype or not value.flags.c_contiguous:
                raise KernelError(f"{entry.name} wants a contiguous {np.dtype(dtype)} array")
            values.append(value.ctypes.data)
        return raw(*values)

    call.__dict__["code"] = code
    return call


def _ctype(kind: str) -> Any:
    return ctypes.c_void_p if kind in _DTYPES else ctypes.c_int64


def _reachable(entries: Sequence[Kernel]) -> list[Kernel]:
    found: dict[str, Kernel] = {}
    todo = list(entries)
    while todo:
        item = todo.pop()
        if item.name in found:
            continue
        found[item.name] = item
        for node in ast.walk(item.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                callee = item.scope.get(node.func.id)
                if isinstance(callee, Kernel):
                    todo.append(callee)
    return [found[name] for name in sorted(found)]


def _global_constants(item: Kernel) -> list[tuple[str, int]]:
    """The module-level integers and enum members that the kernel's code takes as constants."""
    values: list[tuple[str, int]] = []
    for node in ast.walk(item.tree):
        if isinstance(node, ast.Name) and isinstance(item.scope.get(node.id), int):
            values.append((node.id, int(item.scope[node.id])))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = item.scope.get(node.value.id)
            if isinstance(owner, EnumMeta):
                values.append((f"{node.value.id}.{node.attr}", int(getattr(owner, node.attr))))
    return sorted(set(values))


def _emit(kernels: list[Kernel], entries: Sequence[Kernel], constants: Mapping[str, int], machine: Any) -> bytes:
    from llvmlite import binding as llvm

    from sim.jit_codegen import generate

    module = llvm.parse_assembly(generate(kernels, {k.name for k in entries}, constants, str(machine.triple)))
    module.verify()
    options = llvm.create_pipeline_tuning_options(3)
    options.loop_vectorization = True
    options.slp_vectorization = True
    options.loop_unrolling = True
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return machine.emit_object(module)


_OWN_SOURCE = "".join(
    (Path(__file__).with_name(name)).read_text(encoding="utf-8") for name in ("jit.py", "jit_codegen.py")
)
