"""Deployed networks: the shared libraries that `vdla compile -o model.so` writes, called through their C interface.

    from runtime.shared_library import load
    outputs = load("model.so").run({"image": image})

Needs numpy and nothing else of the kit. C programs call the same functions; see the header beside the library.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from runtime.artifact import ALIGNMENT, DTYPES, TensorSpec
from runtime.errors import ArtifactError, InputError
from runtime.executor import check_inputs
from runtime.thread_pool import MOST_THREADS, default_threads

ABI_VERSION = 1
TRAILER_MAGIC = b"VDLAMODL"
"""Behind the library's end; the SHA-256 of everything before it follows."""

_TRAILER_BYTES = len(TRAILER_MAGIC) + 32
_ELF64, _LOADED = 2, 1  # of the file's class, of a segment's type
_MACHINES = {62: "x86_64", 183: "aarch64", 40: "arm"}  # ELF's e_machine


class _TensorInfo(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("rank", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("bytes", ctypes.c_size_t),
    ]

    def spec(self) -> TensorSpec:
        """The tensor as the executor describes it; its place is wherever the caller has it."""
        return TensorSpec(self.name.decode(), tuple(self.shape[: self.rank]), DTYPES[self.dtype], 0)


class _ModelInfo(ctypes.Structure):
    _fields_ = [
        ("abi_version", ctypes.c_int32),
        ("input_count", ctypes.c_int32),
        ("output_count", ctypes.c_int32),
        ("inputs", ctypes.POINTER(_TensorInfo)),
        ("outputs", ctypes.POINTER(_TensorInfo)),
        ("model", ctypes.c_char_p),
        ("platform", ctypes.c_char_p),
        ("kit_version", ctypes.c_char_p),
        ("workspace_bytes", ctypes.c_size_t),
        ("constant_bytes", ctypes.c_size_t),
    ]


class SharedLibrary:
    """A deployed network: use `load`.

    Attributes:
        model, platform, kit_version: what was compiled, for what, by which kit.
        inputs, outputs: tensors in the order of the C interface.
        workspace_bytes: memory of an instance. constant_bytes: weights inside the library.
    """

    def __init__(self, path: Path, library: ctypes.CDLL, prefix: str) -> None:
        self.path = path
        try:
            names = ("model_info", "error_text", "create", "destroy", "run", "set_threads")
            functions = [library[f"{prefix}_{name}"] for name in names]
        except AttributeError as error:
            raise ArtifactError(f"{path} is not a deployed network with functions {prefix}_*: {error}") from error
        model_info, self._error_text, create, self._destroy, self._run, self._set_threads = functions
        model_info.restype = ctypes.POINTER(_ModelInfo)
        self._error_text.restype = ctypes.c_char_p
        create.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        self._destroy.argtypes, self._destroy.restype = [ctypes.c_void_p], None
        self._run.argtypes = [ctypes.c_void_p] * 3
        info = model_info().contents
        if info.abi_version != ABI_VERSION:
            raise ArtifactError(f"{path} has interface version {info.abi_version}, this kit reads {ABI_VERSION}")
        self.model, self.platform = info.model.decode(), info.platform.decode()
        self.kit_version = info.kit_version.decode()
        self.workspace_bytes, self.constant_bytes = int(info.workspace_bytes), int(info.constant_bytes)
        self.inputs = tuple(info.inputs[i].spec() for i in range(info.input_count))
        self.outputs = tuple(info.outputs[i].spec() for i in range(info.output_count))
        self._handle = ctypes.c_void_p()
        self._check(create(ctypes.byref(self._handle), None, 0))
        self.use_threads(default_threads())

    def use_threads(self, threads: int) -> None:
        """Let a run use this many threads.

        Raises:
            InputError: unless 1 <= threads <= `runtime.thread_pool.MOST_THREADS`.
        """
        if not 1 <= threads <= MOST_THREADS:
            raise InputError(f"{threads} threads; it must be 1 to {MOST_THREADS}")
        self._check(self._set_threads(threads))

    def run(self, inputs: Mapping[str, np.ndarray] | np.ndarray) -> dict[str, np.ndarray]:
        """One inference: name -> array, or a single array when the model has one input, to outputs by name.

        Raises:
            InputError: when names, shapes or dtypes are not the declared ones.
            ArtifactError: when the library reports an error, or is closed.
        """
        if not self._handle:
            raise ArtifactError(f"{self.path} is closed")
        given = [np.ascontiguousarray(array).reshape(spec.shape) for spec, array in check_inputs(self.inputs, inputs)]
        given = [array if array.flags.aligned else array.copy() for array in given]
        outputs = {spec.name: np.empty(spec.shape, spec.dtype) for spec in self.outputs}
        self._check(self._run(self._handle, _pointers(given), _pointers(list(outputs.values()))))
        return outputs

    def close(self) -> None:
        """Give the workspace back."""
        self._destroy(self._handle)
        self._handle = ctypes.c_void_p()

    def __enter__(self) -> SharedLibrary:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, code: int) -> None:
        if code:
            raise ArtifactError(f"{self.path}: {self._error_text(code).decode()} (code {code})")


def load(path: str | Path, *, prefix: str = "vdla", verify: bool = True) -> SharedLibrary:
    """Opens a deployed network.

    Args:
        prefix: what the names of its functions start with.
        verify: check that the file is as `vdla compile` wrote it; a library linked elsewhere has nothing to check.

    Raises:
        ArtifactError: when the file is missing, damaged, for another processor or not a deployed network.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
    _check_file(path, content, verify)
    try:
        library = ctypes.CDLL(str(path.resolve()))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be loaded: {error}") from error
    return SharedLibrary(path, library, prefix)


def _check_file(path: Path, content: bytes, verify: bool) -> None:
    if content[:4] != b"\x7fELF" or len(content) < ALIGNMENT:
        raise ArtifactError(f"{path} is not a shared library")
    number = struct.unpack_from("<H", content, 18)[0]
    here = "arm" if platform.machine().startswith("arm") else platform.machine()
    machine = _MACHINES.get(number, f"machine {number}")
    if machine != here:
        raise ArtifactError(f"{path} is for {machine}, this computer is {here}; compile the model for it")
    if len(content) < _segments_end(content):
        raise ArtifactError(f"{path} is cut off: it has {len(content)} bytes, and parts beyond; compile it again")
    if not verify:
        return
    body, trailer = content[:-_TRAILER_BYTES], content[-_TRAILER_BYTES:]
    if not trailer.startswith(TRAILER_MAGIC):
        raise ArtifactError(
            f"{path} is cut off, stripped or was linked elsewhere: it does not end in a checksum; compile it again, "
            f"or load it with verify=False"
        )
    if hashlib.sha256(body).digest() != trailer[len(TRAILER_MAGIC) :]:
        raise ArtifactError(f"{path} is damaged: its SHA-256 is not the one that it ends in")


def _segments_end(content: bytes) -> int:
    """Where what is loaded of an ELF file ends. A process that has mapped a shorter one is ended at an access."""
    wide = content[4] == _ELF64
    (at,) = struct.unpack_from("<Q" if wide else "<I", content, 32 if wide else 28)
    size, count = struct.unpack_from("<HH", content, 54 if wide else 42)
    ends = [at + size * count]
    least = 56 if wide else 32
    for header in range(at, min(at + size * count, len(content) - least + 1), max(size, least)):
        kind = struct.unpack_from("<I", content, header)[0]
        start, length = (
            struct.unpack_from("<Q" if wide else "<I", content, header + where)[0]
            for where in ((8, 32) if wide else (4, 16))
        )
        if kind == _LOADED:
            ends.append(start + length)
    return max(ends)


def _pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * max(len(arrays), 1))(*[array.ctypes.data for array in arrays])
