"""The published HumanEval and MT-Bench files, read when the user has them; they do not ship here."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracing.errors import UsageError
from workbench.bench.suite import SuitePrompt


def humaneval_prompts(path: Path) -> list[SuitePrompt]:
    """Read `HumanEval.jsonl` or `HumanEval.jsonl.gz`: one task a line with `task_id` and `prompt`.

    Raises:
        UsageError: No such file, or something else in it.
    """
    prompts = []
    for where, entry in _entries(path):
        task, text = entry.get("task_id"), entry.get("prompt")
        if not (isinstance(task, str) and isinstance(text, str) and text):
            raise UsageError(f'{where} should be a HumanEval task with "task_id" and "prompt"')
        prompts.append(SuitePrompt(task, "code", path.name, (text,)))
    return prompts


def mt_bench_prompts(path: Path) -> list[SuitePrompt]:
    """Read MT-Bench's `question.jsonl`: one question a line with `question_id` and `turns`.

    Raises:
        UsageError: No such file, or something else in it.
    """
    prompts = []
    for where, entry in _entries(path):
        number, turns = entry.get("question_id"), entry.get("turns")
        texts = turns if isinstance(turns, list) else []
        if not (isinstance(number, int | str) and texts and all(isinstance(text, str) for text in texts)):
            raise UsageError(f'{where} should be an MT-Bench question with "question_id" and "turns"')
        prompts.append(SuitePrompt(f"mt-bench-{number}", "chat", path.name, tuple(texts)))
    return prompts


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place of each line and the JSON object in it."""
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
        lines = data.decode("utf-8").splitlines()
    except OSError as problem:
        raise UsageError(f"cannot read {path}: {problem.strerror or problem}") from None
    except (EOFError, zlib.error, UnicodeDecodeError):
        raise UsageError(f"{path} should be UTF-8 JSON lines, plain or gzip") from None
    if not any(line.strip() for line in lines):
        raise UsageError(f"{path} is empty")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as problem:
            raise UsageError(f"{where} is no JSON ({problem.msg})") from None
        if not isinstance(entry, dict):
            raise UsageError(f"{where} should be a JSON object")
        yield where, entry
