"""How mistakes are planted in model runner V1 and the scheduler of vLLM, below the hooks of the recorder.

Each function changes the engine's classes before an engine is made. What a mistake touched, launch and
request, goes as one JSON line each to the file that `SPECWB_PLANTED` names.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

PLANTED: Final = "SPECWB_PLANTED"


def touched(runner: Any, request_ids: Iterable[str], launch: int | None = None) -> None:
    """Note which requests of which launch a mistake touched."""
    number = getattr(runner, "_specwb_current", None) if launch is None else launch
    with Path(os.environ[PLANTED]).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps([number, request_id]) + "\n" for request_id in request_ids)


def replace_method(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put what `make` returns for a function or method in its place."""
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))


def runner_class() -> Any:
    """Return model runner V1."""
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    return GPUModelRunner


def decoding_rows(runner: Any) -> list[int]:
    """Return the batch rows that verify drafts in this launch."""
    counts = runner.num_scheduled_tokens.np[: runner.input_batch.num_reqs]
    rows = enumerate(runner.input_batch.req_ids)
    return [row for row, each in rows if counts[row] > 1 and runner.requests[each].output_token_ids]


def after_inputs(change: Callable[[Any, list[int]], Any]) -> None:
    """Let a change be made to what a launch is given, once it is prepared."""

    def make(original: Any) -> Any:
        def prepared(runner: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(runner, *args, **kwargs)
            rows = decoding_rows(runner)
            names = [runner.input_batch.req_ids[row] for row in rows]
            if rows and change(runner, rows) is not False:
                touched(runner, names)
            return result

        return prepared

    replace_method(runner_class(), "_prepare_inputs", make)
