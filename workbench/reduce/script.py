"""Puts the script of a reduced case together out of the modules of `plain` that its stage needs."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tracing.moment import STAGES

PLAIN: Final = Path(__file__).parent / "plain"
NETWORK: Final = ("comparing", "operators", "teacher", "models")
PARTS: Final = {
    "prefill": NETWORK,
    "verify": NETWORK,
    "draft": (*NETWORK, "drafters", "tree_stages"),
    "tensorize": ("comparing", "tree_stages"),
    "accept": ("comparing", "tree_stages"),
    "commit": ("comparing", "tree_stages"),
}
"""Stage to the modules that its computation reads."""
IMPORTS: Final = """from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
"""
HERE: Final = "HERE = Path(__file__).resolve().parent"


def script_of(stage: str | None, title: str, *, has_operator: bool) -> str:
    """Return the text of the script.

    Args:
        stage: Of the finding.
        title: First line of its docstring; plain text.
        has_operator: Whether an operator of the stage was located.
    """
    own = stage if stage in STAGES else "other"
    names = [*PARTS.get(own, ("comparing",)), f"stage_{own}"]
    if has_operator:
        names = [*dict.fromkeys([*NETWORK, *names]), "single_operator"]
    parts = [_body(name) for name in names]
    if "models" not in names:
        parts.insert(0, f"\n{HERE}\n")
    parts.append(_main(own, has_operator=has_operator))
    text = title.replace("\\", "/").replace('"', "'")
    how = "Run it with `python repro.py`; it needs torch and the files beside it, nothing else."
    head = f'"""{text}\n\n{how}\n"""\n'
    return head + "\n" + IMPORTS + "\n" + "\n\n".join(part.strip("\n") + "\n" for part in parts)


def _body(name: str) -> str:
    """Return a module without docstring and imports."""
    source = (PLAIN / f"{name}.py").read_text(encoding="utf-8")
    return _without(source, lambda node: isinstance(node, (ast.Import, ast.ImportFrom)) or _is_text(node))


def _main(stage: str, *, has_operator: bool) -> str:
    """Return the last part without what this stage does not have."""
    text = _body("main")
    if not has_operator:
        text = _without(text, lambda node: isinstance(node, ast.FunctionDef) and node.name == "show_operator")
        text = text.replace(
            '    if case["operator"] and "operator" in found:\n'
            '        differs.append(show_operator(case, inputs, found["operator"], own))\n',
            "",
        )
    if stage != "verify":
        line = '    shown = found_rows(inputs, found) if case["stage"] == "verify" else found\n'
        text = text.replace(line, "    shown = found\n")
    else:
        text = text.replace(' if case["stage"] == "verify" else found', "")
    return text


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.col_offset == 0


def _without(source: str, is_dropped: Callable[[ast.stmt], bool]) -> str:
    """Return the source without some of its statements."""
    lines = source.splitlines(keepends=True)
    dropped: set[int] = set()
    for node in ast.parse(source).body:
        if is_dropped(node):
            dropped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return "".join(line for number, line in enumerate(lines, 1) if number not in dropped)
