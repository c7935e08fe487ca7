"""What holds of every file of ours: no import circle, one class to a name, no long file."""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("specwb.py", "tracing", "invariants", "reference", "workbench")
MAX_LINES = 300


def product_files() -> list[Path]:
    named = [ROOT / name for name in PRODUCT]
    return [file for each in named for file in ([each] if each.is_file() else sorted(each.rglob("*.py")))]


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.Module, modules: Iterable[str]) -> set[str]:
    """Modules that a file imports at any place of it, in a function or for types alone too.

    `from package import module` is an import of the module, not of what the package itself defines.
    """
    known, found = frozenset(modules), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            named = {f"{base}.{alias.name}" for alias in node.names}
            found |= named if named <= known else named | {base}
    return found & known


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which reaches every other, by what each reaches."""
    reached = {module: _reach(module, edges) for module in edges}
    groups = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in edges
        if module in reached[module]
    }
    return sorted(sorted(group) for group in groups)


def _reach(module: str, edges: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = [module]
    while left:
        new = edges.get(left.pop(), set()) - found
        found |= new
        left += new
    return found


def test_no_product_modules_import_one_another() -> None:
    """Catches a command that asks the front door, or a helper that asks the command which calls it."""
    trees = {module_name(file): ast.parse(file.read_text("utf-8")) for file in product_files()}
    edges = {module: imports_of(tree, trees) - {module} for module, tree in trees.items()}
    assert circles(edges) == []


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, [["b", "c"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]]),
    ],
)
def test_a_circle_is_seen(edges: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert circles(edges) == expected


def test_an_import_inside_a_function_counts() -> None:
    source = "def f():\n    from a.b import c\n    import a.d\n    from a import e\n"
    assert imports_of(ast.parse(source), ["a", "a.b", "a.d", "a.e"]) == {"a.b", "a.d", "a.e"}


def class_names(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for file in files:
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, str(file.relative_to(ROOT))


def test_a_class_name_is_given_once() -> None:
    places = defaultdict(list)
    for name, file in class_names(product_files()):
        places[name].append(file)
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert twice == {}


def test_no_file_is_long() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listed.stdout.split()]
    long = {
        str(file.relative_to(ROOT))
        for file in files
        if file.is_file() and len(file.read_text("utf-8").splitlines()) > MAX_LINES
    }
    assert long == set()
