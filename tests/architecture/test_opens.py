"""Files of runs and checkpoints are opened through one function, which opens regular files only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READERS = {"open", "read_bytes", "read_text", "memory_map", "OSFile", "copyfile", "fdopen"}
ROOMS = (
    "tracing",
    "invariants",
    "workbench/judge",
    "workbench/view",
    "workbench/report",
    "workbench/checkpoints",
    "workbench/weights",
)
REASONS = {
    "tracing/files.py": "is that function, and the writers beside it",
    "tracing/bulk.py": "maps a tensor that has just been proven",
    "tracing/export.py": "writes a new file",
    "tracing/run_writer.py": "copies a bulk tensor that has just been proven",
    "tracing/static_tree.py": "reads a file of the package",
    "workbench/view/rule_index.py": "reads a file of the package",
    "workbench/view/run_state.py": "opens a panel, no file",
    "workbench/checkpoints/shipped.py": "reads files of the package",
    "workbench/checkpoints/packed_file.py": "writes a new file, whose header is known last",
    "workbench/weights/compile_gate.py": "reads a source that the user named, and /proc",
    "workbench/checkpoints/template_child.py": "reads its own memory from /proc",
}
"""Modules that may open files themselves, each with the reason."""


def raw_opens(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of every call that opens a file to be read."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id == "open":
            yield node.lineno, "open"
        elif isinstance(called, ast.Attribute) and called.attr in READERS:
            yield node.lineno, called.attr
        elif isinstance(called, ast.Attribute) and called.attr == "load" and _is(called.value, "np"):
            yield node.lineno, "np.load"


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def test_no_reader_opens_a_file_in_another_way() -> None:
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            opens = list(raw_opens(path.read_text()))
            if opens and name not in REASONS:
                found[name] = opens
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        *("open(path)", "path.open('rb')", "path.read_bytes()", "np.load(path)", "io.open(path)"),
        *("pa.memory_map(path)", "shutil.copyfile(path, out)", "os.open(path, 0)"),
    ],
)
def test_each_way_to_open_a_file_is_seen(line: str) -> None:
    assert list(raw_opens(line))


def test_what_opens_nothing_is_not_flagged() -> None:
    assert not list(raw_opens("open_regular(path)\nread_regular(path)\njson.load(file)\nopen_run(path)"))
