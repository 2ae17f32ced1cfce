"""Reads an ONNX model (float or QDQ) into the graph IR.

Static shapes only. uint8 tensors are carried as int8 shifted by 128 (QuantInfo.offset tells). Every value keeps
the name of its ONNX tensor in `origin`. The converters of the single operators are in onnx_ops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from compiler.errors import ModelError, ShapeError, Unsupported, UnsupportedModelError
from compiler.frontend import (
    onnx_activations,
    onnx_elementwise,
    onnx_normalization,
    onnx_ops,
    onnx_recurrent,
    onnx_reductions,
    onnx_tensors,
    onnx_windows,
)
from compiler.frontend.onnx_functions import expand_functions
from compiler.frontend.onnx_node import UNREADABLE, Context, NodeView, Reject
from compiler.frontend.onnx_registry import REASONS, converter_of
from compiler.graph.ir import Graph, Value

#: importing a family registers its converters
FAMILIES = (
    onnx_activations,
    onnx_elementwise,
    onnx_normalization,
    onnx_ops,
    onnx_recurrent,
    onnx_reductions,
    onnx_tensors,
    onnx_windows,
)

ModelSource = onnx.ModelProto | str | Path | bytes

_INPUT_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.UINT16: "uint16",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.UINT32: "uint32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.BOOL: "bool",
}
_OLDEST_OPSET = 7


def load_model(source: ModelSource) -> onnx.ModelProto:
    """Read a ModelProto from a file or bytes; ModelError when it is missing or not ONNX."""
    if isinstance(source, onnx.ModelProto):
        return source
    where = f"'{source}'" if isinstance(source, (str, Path)) else "the given bytes"
    try:
        if isinstance(source, bytes):
            model = onnx.load_model_from_string(source)
        else:
            model = onnx.load(str(source))
    except OSError as error:
        raise ModelError(f"cannot read model {where}: {error.strerror or error}") from None
    except (DecodeError, onnx.checker.ValidationError) as error:
        detail = str(error).splitlines()[0]
        raise ModelError(f"{where} is not an ONNX model ({detail}); give a .onnx file") from None
    if not model.ir_version or not model.graph.node:
        raise ModelError(f"{where} is not an ONNX model: it holds no graph; give a .onnx file")
    return model


def from_onnx(
    source: ModelSource,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int | None = None,
    name: str | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> Graph:
    """Import a model from a ModelProto, a path or bytes.

    `shapes` gives shapes of inputs by name and `batch` the extent of a symbolic first axis, for models with
    dynamic dimensions; `constants` fixes inputs by name, such as a shape that an operator must know at compile time.
    Operators without a converter that the model or ONNX defines by others are replaced by them. Raises ModelError (not
    ONNX, dynamic shape, non-finite weights, dangling input) and UnsupportedModelError, which lists every operator that
    cannot be imported.
    """
    model = load_model(source)
    label = name or model.graph.name or "model"
    if name is None and isinstance(source, (str, Path)):
        label = Path(source).stem
    return _Importer(expand_functions(model), label, dict(shapes or {}), batch, dict(constants or {})).run()


class _Importer:
    def __init__(
        self,
        model: onnx.ModelProto,
        name: str,
        shapes: dict[str, Sequence[int]],
        batch: int | None,
        constants: dict[str, np.ndarray],
    ) -> None:
        self.model, self.name, self.shapes, self.batch, self.constants = model, name, shapes, batch, constants
        self.graph = Graph(name)
        self.values: dict[str, Value | None] = {}
        self.unsupported: list[Unsupported] = []
        self.consumed: set[str] = set()
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.opset = opsets.get("", opsets.get("ai.onnx", 0))
        if self.opset < _OLDEST_OPSET:
            raise self._error(f"it uses opset {self.opset}; re-export it with opset {_OLDEST_OPSET} or later")

    def _error(self, message: str) -> ModelError:
        return ModelError(f"model '{self.name}': {message}")

    def run(self) -> Graph:
        """Import everything; raise once with all unsupported operators."""
        self._initializers()
        self._inputs()
        defined = set(self.values)
        produced = {output for node in self.model.graph.node for output in node.output}
        outputs = {output.name for output in self.model.graph.output}
        self.consumed = outputs | {operand for node in self.model.graph.node for operand in node.input}
        context = Context(self.graph, self.opset, outputs)
        for index, proto in enumerate(self.model.graph.node):
            view = NodeView.read(proto, index)
            if not any(view.outputs):
                raise self._error(f"{view.op} '{view.name}' has no output")
            for operand in view.inputs:
                if operand and operand not in defined:
                    why = "is only produced later" if operand in produced else "is produced by no node"
                    raise self._error(f"input '{operand}' of {view.op} '{view.name}' {why}")
            for output in view.outputs:
                if output in defined:
                    raise self._error(f"tensor '{output}' is produced twice ({view.op} '{view.name}')")
                if output:
                    defined.add(output)
            self._convert(context, proto, view)
        for output in self.model.graph.output:
            if output.name not in defined:
                raise self._error(f"graph output '{output.name}' is produced by no node")
        if self.unsupported:
            raise UnsupportedModelError(self.name, self.unsupported)
        for output in self.model.graph.output:
            value = self.values[output.name]
            assert value is not None  # every operator was converted
            self.graph.mark_output(value, output.name)
        return self.graph

    def _initializers(self) -> None:
        for tensor in self.model.graph.initializer:
            try:
                array = numpy_helper.to_array(tensor)
            except UNREADABLE as error:
                raise self._error(f"weight '{tensor.name}' cannot be read ({error})") from None
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                count = int(array.size - np.isfinite(array).sum())
                raise self._error(f"weight '{tensor.name}' holds {count} non-finite values (NaN or infinity)")
            self.values[tensor.name] = self.constant(array, tensor.name)
        for name, array in self.constants.items():
            self.values[name] = self.constant(np.asarray(array), name)

    def constant(self, array: np.ndarray, name: str) -> Value:
        """Check a constant's element type and add it; ModelError naming the tensor."""
        if array.dtype.name not in _INPUT_TYPES.values():
            raise self._error(
                f"tensor '{name}' has element type {array.dtype}; "
                f"convert the model to float32 (supported: {', '.join(sorted(_INPUT_TYPES.values()))})"
            )
        return self.graph.const(array, name)

    def _inputs(self) -> None:
        known = {entry.name for entry in self.model.graph.input}
        for name in (*self.shapes, *self.constants):
            if name not in known:
                raise ModelError(f"model '{self.name}' has no input '{name}'; its inputs are {sorted(known)}")
        for entry in self.model.graph.input:
            if entry.name in self.values:
                continue  # an initializer that old models repeat among the inputs
            tensor = entry.type.tensor_type
            if tensor.elem_type not in _INPUT_TYPES:
                known_types = onnx.TensorProto.DataType.items()
                kind = next((k for k, number in known_types if number == tensor.elem_type), str(tensor.elem_type))
                raise self._error(
                    f"input '{entry.name}' is {kind}; supported are {', '.join(sorted(_INPUT_TYPES.values()))}"
                )
            self.values[entry.name] = self.graph.input(entry.name, self._shape(entry), _INPUT_TYPES[tensor.elem_type])

    def _shape(self, entry: onnx.ValueInfoProto) -> tuple[int, ...]:
        tensor = entry.type.tensor_type
        given = self.shapes.get(entry.name)
        if not tensor.HasField("shape"):
            if given is None:
                raise self._error(f"input '{entry.name}' has no shape; give shapes={{'{entry.name}': ...}}")
            return tuple(int(extent) for extent in given)
        dims = tensor.shape.dim
        if given is not None and len(given) != len(dims):
            raise self._error(f"input '{entry.name}' has {len(dims)} dimensions, given is {tuple(given)}")
        shape: list[int] = []
        dynamic: list[str] = []
        for axis, dim in enumerate(dims):
            static = dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
            if given is not None:
                if static is not None and static != given[axis]:
                    raise self._error(
                        f"input '{entry.name}' has the fixed extent {static} at axis {axis}, given is {given[axis]}"
                    )
                shape.append(int(given[axis]))
            elif static is not None:
                shape.append(static)
            elif axis == 0 and self.batch is not None:
                shape.append(self.batch)
            else:
                dynamic.append(f"'{dim.dim_param or '?'}' at axis {axis}")
        if dynamic:
            example = ", ".join(str(d.dim_value) if d.dim_value > 0 else "..." for d in dims)
            raise self._error(
                f"input '{entry.name}' has dynamic dimensions ({', '.join(dynamic)}); "
                f"export the model with fixed extents, or import it with its shape, for example "
                f"shapes={{'{entry.name}': ({example})}}, or batch=N for the first axis"
            )
        if min(shape, default=1) <= 0:
            raise self._error(f"input '{entry.name}' must have positive extents, got {tuple(shape)}")
        return tuple(shape)

    def _convert(self, context: Context, proto: onnx.NodeProto, view: NodeView) -> None:
        operands = [self.values[operand] if operand else None for operand in view.inputs]
        converter = converter_of(view.op, proto.domain)
        blocked = any(operand and self.values[operand] is None for operand in view.inputs)
        for output in view.outputs:
            self.values[output] = None
        try:
            if not blocked and context.foldable(view, operands, converter is not None):
                folded = context.fold(proto, view, operands)
                if len(folded) != len(view.outputs):
                    raise Reject(f"it has {len(view.outputs)} outputs, {len(folded)} are defined")
                for output, array in zip(view.outputs, folded, strict=True):
                    if 0 in array.shape and array.ndim > 1:  # an empty vector may be a shape
                        raise Reject(f"its output is empty: shape {array.shape}")
                    self.values[output] = self.constant(array, output)
                return
            if converter is None:
                where = f" of domain '{proto.domain}'" if proto.domain not in ("", "ai.onnx") else ""
                raise Reject(REASONS.get(view.op, f"operator{where} is not implemented"))
            if blocked:
                return  # an operand comes from an operator already reported
            result = converter(context, view, operands)
            results = result if isinstance(result, tuple) else (result,)
            empty = next((value for value in results if 0 in value.shape), None)
            if empty is not None:
                raise Reject(f"its output is empty: shape {empty.shape}")
        except (Reject, ShapeError) as error:
            needs = error.needs if isinstance(error, Reject) else None
            self.unsupported.append(Unsupported(view.name, view.op, str(error), needs))
            return
        self.values.update(zip(view.outputs, results, strict=False))
        for output in view.outputs[len(results) :]:
            if output in self.consumed:
                reason = f"its output '{output}' is not implemented"
                self.unsupported.append(Unsupported(view.name, view.op, reason))
