"""The worker's end of the pipe: a JSON object a line in, one out; what libraries print goes to stderr.

Workers run in the environment of another engine, where nothing of this package is installed: they import the
standard library, the engine, and files of this folder.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

Generate = Callable[[Sequence[int], int], list[int]]
"""`(prompt_token_ids, max_new_tokens)` to the new token ids."""
Opened = tuple[Generate, Mapping[str, Any]]
"""What generates, and its settings as it runs."""


def _versions(packages: Sequence[str]) -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }


def serve(module: ModuleType) -> None:
    """Answer until the pipe ends: the first line opens, each other one generates.

    Args:
        module: Has `open_engine(asked) -> Opened` and `PACKAGES`, the distributions whose versions are told.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        generate: Generate | None = None
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                if generate is None:
                    generate, settings = module.open_engine(asked)
                    told = {**settings, "versions": _versions(module.PACKAGES)}
                    answer: dict[str, Any] = {"settings": told}
                else:
                    answer = _timed(generate, asked["prompt_token_ids"], asked["max_new_tokens"])
            except Exception as problem:  # noqa: BLE001  told to who asked, with its kind
                answer = {"error": f"{type(problem).__name__}: {problem}"}
            out.write(json.dumps(answer) + "\n")
            out.flush()


def _timed(generate: Generate, prompt: Sequence[int], max_new_tokens: int) -> dict[str, Any]:
    """Generate as our own sides are timed: garbage is collected before a call, not during it.

    How long the first token takes is the time of a call of its own that wants no more.
    """
    first = _call(generate, prompt, 1)
    return {**_call(generate, prompt, max_new_tokens), "first_token_seconds": first["seconds"]}


def _call(generate: Generate, prompt: Sequence[int], max_new_tokens: int) -> dict[str, Any]:
    gc.collect()
    gc.disable()
    try:
        start, worked = time.perf_counter(), time.process_time()
        token_ids = generate(prompt, max_new_tokens)
        seconds, processor_seconds = time.perf_counter() - start, time.process_time() - worked
    finally:
        gc.enable()
    return {
        "output_token_ids": [int(token) for token in token_ids],
        "seconds": seconds,
        "processor_seconds": processor_seconds,
    }


if __name__ == "__main__":
    serve(importlib.import_module(sys.argv[1]))
