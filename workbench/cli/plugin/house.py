"""Imports our packages under a private name, so that a user's own `tracing/` and ours can coexist.

`specwb.py` loads this file by its path as the package `_specwb_house`. Every module below it is ours, with
its absolute imports of our packages turned into imports below it; the names `tracing`, `invariants`,
`reference` and `workbench` are neither looked up nor taken in `sys.modules`. Standard library only.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

PRIVATE = "_specwb_house"
OURS = ("tracing", "invariants", "reference", "workbench")


class PrivateLoader(SourceFileLoader):
    """Compiles a module of ours with its imports turned; never from a cache, which holds the public form."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the turned code of a module."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def source_to_code(  # type: ignore[override]  # the base class takes more kinds of data
        self, data: bytes, path: str, *, _optimize: int = -1
    ) -> CodeType:
        """Compile source with its imports turned."""
        tree = Turned().visit(ast.parse(data, path))
        code: CodeType = compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)
        return code


class Turned(ast.NodeTransformer):
    """Turns `from tracing.x import y` into `from _specwb_house.tracing.x import y`."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """Turn one statement."""
        if node.level == 0 and is_ours(node.module or ""):
            node.module = f"{PRIVATE}.{node.module}"
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        """Refuse the form that would bind a public name; our packages do not use it.

        Raises:
            ImportError: It is used all the same.
        """
        for alias in node.names:
            if is_ours(alias.name):
                raise ImportError(f"line {node.lineno}: write `from ... import` for {alias.name}")
        return node


class PrivateFinder(MetaPathFinder):
    """Finds modules below `_specwb_house`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of one of our modules under its private name; None for all others."""
        if not fullname.startswith(f"{PRIVATE}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = PrivateLoader(fullname, spec.loader.path)
        return spec


def is_ours(module: str) -> bool:
    """Whether an absolute import names one of our packages."""
    return module.partition(".")[0] in OURS


def open_house(folder: str) -> None:
    """Make `_specwb_house.tracing...` importable; our packages are in `folder`."""
    this: Any = sys.modules[PRIVATE]
    this.__path__ = [folder]
    if not any(type(finder).__name__ == PrivateFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, PrivateFinder())
