"""The worker's end of the pipe: a JSON object a line in, one out; what libraries print goes to stderr.

Workers run in the environment of another engine, where nothing of this package is installed: they import the
standard library, the engine, and files of this folder.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Generate = Callable[[Sequence[int], int], list[int]]
"""`(prompt_token_ids, max_new_tokens)` to the new token ids."""
Opened = tuple[Generate, Mapping[str, Any]]
"""What generates, and its settings as it runs."""


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }


def serve(open_engine: Callable[[Mapping[str, Any]], Opened]) -> None:
    """Answer until the pipe ends: the first line opens, each other one generates."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        generate: Generate | None = None
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                if generate is None:
                    generate, settings = open_engine(asked)
                    answer: dict[str, Any] = {"settings": dict(settings)}
                else:
                    answer = _timed(generate, asked)
            except Exception as problem:  # noqa: BLE001  told to who asked, with its kind
                answer = {"error": f"{type(problem).__name__}: {problem}"}
            out.write(json.dumps(answer) + "\n")
            out.flush()


def _timed(generate: Generate, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Generate once as our own sides are timed: garbage is collected before the call, not during it."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        token_ids = generate(asked["prompt_token_ids"], asked["max_new_tokens"])
        seconds = time.perf_counter() - start
    finally:
        gc.enable()
    return {"output_token_ids": [int(token) for token in token_ids], "seconds": seconds}
