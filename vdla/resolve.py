"""What the user names - a model, inputs - found and loaded, with errors that say what would be right."""

from __future__ import annotations

import difflib
import inspect
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.artifact import TensorSpec
from runtime.artifact_file import MANIFEST
from runtime.errors import InputError
from vdla.errors import UsageError

if TYPE_CHECKING:
    import onnx

ARTIFACT_SUFFIX = ".vdla"


def is_artifact(path: Path) -> bool:
    """Whether `path` names a compiled model: a zip, a folder with a manifest, or anything called ``*.vdla``."""
    if path.is_dir():
        return (path / MANIFEST).is_file()
    return path.suffix == ARTIFACT_SUFFIX or (path.is_file() and zipfile.is_zipfile(path))


def model_source(name: str, batch: int | None = None) -> onnx.ModelProto | Path:
    """The model a user named: the path of an existing file, or a built-in network, of `batch` where it has a choice.

    Raises:
        UsageError: when it is neither.
    """
    from vdla import models

    path = Path(name)
    if path.is_file():
        return path
    build = models.MODELS.get(name)
    if build is not None:
        chosen = batch is not None and "batch" in inspect.signature(build).parameters
        return build(batch=batch) if chosen else build()
    near = difflib.get_close_matches(name, models.MODELS, 1)
    hint = f"did you mean {near[0]}?" if near else f"built-in models are {', '.join(models.MODELS)}"
    raise UsageError(f"no file and no built-in model named '{name}'; {hint}")


def check_batch(model: onnx.ModelProto, batch: int) -> None:
    """Checks that every input's first axis is symbolic or has the extent asked for.

    Raises:
        UsageError: for another batch, or none at all.
    """
    if batch < 1:
        raise UsageError(f"a batch of {batch} is not possible; give 1 or more")
    constants = {tensor.name for tensor in model.graph.initializer}
    for entry in model.graph.input:
        dims = entry.type.tensor_type.shape.dim
        if entry.name not in constants and dims and dims[0].dim_value not in (0, batch):
            raise UsageError(
                f"the model's input '{entry.name}' has a fixed batch of {dims[0].dim_value}, not {batch}; "
                "leave --batch out, or export the model with a symbolic first axis"
            )


def check_calibration(given: object, targets: Sequence[str], integer: bool) -> None:
    """Checks that samples to calibrate on have a use: the accelerator computes in integers, CPUs only if asked to.

    Raises:
        UsageError: for samples (not None) that would be left unread.
    """
    if given is not None and not integer and "vdla" not in targets:
        raise UsageError(
            f"calibration has no use: a float network stays float on {','.join(targets)}; make it int8 with --int8 "
            "(integer=True)"
        )


def builtin_calibration(name: str) -> list[dict[str, np.ndarray]] | None:
    """The inputs a built-in network is calibrated on; None for files and for networks without inputs of their own."""
    from vdla import models

    inputs = models.CALIBRATION.get(name)
    return None if inputs is None or Path(name).is_file() else inputs()


def load_inputs(path: Path, specs: tuple[TensorSpec, ...]) -> dict[str, np.ndarray]:
    """Inputs by name from a ``.npz`` (one array an input) or a ``.npy`` (for a model with one input).

    Raises:
        InputError: when the file cannot be read, or a ``.npy`` is given to a model with several inputs.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.ndarray):
            with content:
                return {name: content[name] for name in content.files}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a .npy or .npz file of plain arrays") from error
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise InputError(f"the model has {len(specs)} inputs ({names}); give a .npz with one array for each")
    return {specs[0].name: content}


def random_inputs(specs: tuple[TensorSpec, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded inputs: standard normal for floats, the whole range for integers of 8 bits, 0..99 for wider ones."""
    rng = np.random.default_rng(seed)

    def draw(spec: TensorSpec) -> np.ndarray:
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            return rng.standard_normal(spec.shape).astype(dtype)
        if dtype.kind == "b":
            return rng.integers(0, 2, spec.shape).astype(dtype)
        if dtype.itemsize == 1:
            info = np.iinfo(dtype)
            return rng.integers(info.min, info.max + 1, spec.shape).astype(dtype)
        return rng.integers(0, 100, spec.shape).astype(dtype)

    return {spec.name: draw(spec) for spec in specs}


def check_output_path(path: Path) -> None:
    """Checks the place for outputs before the work that computes them.

    Raises:
        UsageError: for another suffix than ``.npz``, or a folder that does not exist.
    """
    if path.suffix != ".npz":
        raise UsageError(f"{path}: outputs are saved by name in a .npz file; try {path.with_suffix('.npz')}")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: {path.parent} is not a folder")


def save_outputs(path: Path, outputs: Mapping[str, np.ndarray]) -> None:
    """Writes all outputs to a ``.npz``, one array for each name.

    Raises:
        UsageError: for a place that cannot be written.
    """
    try:
        with path.open("wb") as stream:
            np.savez(stream, **dict(outputs))  # pyright: ignore[reportArgumentType]
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
