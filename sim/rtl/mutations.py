"""Faults to plant in the RTL: small changes of its Python source, each of which a designer could have made.

A mutation is found and named without running anything. It is tried in a process of its own, whose `hw.rtl` is
imported anew with one module's source changed.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import hw.rtl

FOLDER = Path(str(hw.rtl.__file__)).parent
DECLARATIONS = ("__init__", "axi", "hdl", "manual", "registers", "verilog")
"""Modules of names and tables, whose changes are not faults of logic."""

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """One fault: the module of hw/rtl, where, what kind of fault, and the source before and after."""

    module: str
    line: int
    kind: str
    before: str
    after: str
    site: int
    """Its number among all sites of the module."""

    def __str__(self) -> str:
        return f"hw/rtl/{self.module}.py:{self.line}: {self.kind}: {self.before}  ->  {self.after}"


def mutations() -> list[Mutation]:
    """All faults that can be planted, in a fixed order."""
    found = []
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem not in DECLARATIONS:
            found += [m for m, _ in _sites(path.stem, ast.parse(path.read_text(encoding="utf-8")))]
    return found


def source_with(mutation: Mutation) -> str:
    """The source of the mutation's module with the fault in it."""
    tree = ast.parse((FOLDER / f"{mutation.module}.py").read_text(encoding="utf-8"))
    return ast.unparse(next(apply for m, apply in _sites(mutation.module, tree) if m.site == mutation.site)())


def plant(mutation: Mutation) -> ModuleType:
    """`hw.rtl` imported anew with the fault in it; for a process that does nothing else.

    Raises whatever the changed source raises when it is imported.
    """
    finder = _Finder(f"hw.rtl.{mutation.module}", FOLDER / f"{mutation.module}.py", source_with(mutation))
    for name in [n for n in sys.modules if n == "hw.rtl" or n.startswith("hw.rtl.")]:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        # The package imports its modules when they are first asked for, which would be after the finder is gone.
        importlib.import_module(f"hw.rtl.{mutation.module}")
        return importlib.import_module("hw.rtl")
    finally:
        sys.meta_path.remove(finder)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from changed source."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self._name, self._path, self._source = name, path, source

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self._path))

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)


# ---- sites ------------------------------------------------------------------------------------------------------


def _sites(module: str, tree: ast.Module) -> Iterator[tuple[Mutation, Any]]:
    """Every fault of a module, with a function that gives the tree that has it."""
    number = 0
    for node in _logic(tree):
        for kind, replacement in _faults(node):
            mutation = Mutation(module, getattr(node, "lineno", 0), kind, _short(node), _short(replacement), number)

            def apply(node: ast.AST = node, replacement: ast.AST = replacement) -> ast.Module:
                return ast.fix_missing_locations(_replaced(tree, node, replacement))

            yield mutation, apply
            number += 1


def _logic(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that make logic: in functions and methods (not constructors), without annotations and docstrings."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    inner = {id(n) for f in functions for n in ast.walk(f) if n is not f and isinstance(n, ast.FunctionDef)}
    for function in functions:
        if id(function) in inner or function.name.startswith("__") or function.name.endswith("layout"):
            continue
        for statement in function.body:
            yield from _expressions(statement)


def _expressions(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert):
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Signal", "range"):
        # A width that is one off shows nowhere, or everywhere.
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "slice"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _expressions(child)


def _faults(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(kind, what stands instead) of every fault at this very node."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        new = deepcopy(node)
        new.ops[0] = _SWAPS[type(node.ops[0])]()  # type: ignore[call-overload]
        yield "wrong comparison", new
    elif isinstance(node, ast.BinOp) and type(node.op) in _SWAPS:
        new = deepcopy(node)
        new.op = _SWAPS[type(node.op)]()  # type: ignore[assignment]
        yield "wrong operator", new
        if isinstance(node.op, ast.Sub):
            yield "swapped operands", ast.BinOp(deepcopy(node.right), deepcopy(node.op), deepcopy(node.left))
        if isinstance(node.op, ast.BitAnd):
            yield "missing condition", deepcopy(node.left)
            yield "missing condition", deepcopy(node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        yield "missing inversion", deepcopy(node.operand)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield "off by one", ast.Constant(node.value + 1)
    elif isinstance(node, ast.Call):
        yield from _call_faults(node)


def _call_faults(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    function = node.func
    if isinstance(function, ast.Attribute):
        if function.attr == "as_signed" and not node.args:
            yield "wrong sign extension", deepcopy(function.value)
        if function.attr == "eq" and len(node.args) == 1:
            lost = "dropped token" if _is_token(function.value) else "lost assignment"
            yield lost, ast.List([], ast.Load())
        if function.attr == "If" and len(node.args) == 1:
            new = deepcopy(node)
            new.args = [ast.Constant(1)]
            yield "missing condition", new
    elif isinstance(function, ast.Name) and function.id == "Mux" and len(node.args) == 3:
        yield (
            "swapped operands",
            ast.Call(deepcopy(function), [deepcopy(node.args[0]), deepcopy(node.args[2]), deepcopy(node.args[1])], []),
        )


def _is_token(target: ast.AST) -> bool:
    """Whether a signal says that a token, or an instruction with its tokens, goes in or out somewhere."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return getattr(target, "attr", getattr(target, "id", "")) in ("push", "pop", "pushes")


def _replaced(tree: ast.Module, old: ast.AST, new: ast.AST) -> ast.Module:
    """A copy of the tree with one node replaced."""

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return deepcopy(new) if node is old else self.generic_visit(_shallow(node))

    return Replace().visit(tree)


def _shallow(node: ast.AST) -> ast.AST:
    """A copy of a node with the same children, so that the transformer changes nobody else's tree."""
    copy = type(node)(**{name: list(v) if isinstance(v, list) else v for name, v in ast.iter_fields(node)})
    return ast.copy_location(copy, node)


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(ast.fix_missing_locations(deepcopy(node))).split())
    return text if len(text) <= 60 else text[:57] + "..."
