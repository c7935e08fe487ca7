"""Rendering a chat template, which is a program of a stranger: in a process of its own, with limits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tracing.errors import EnvironmentProblemError, UsageError
from workbench.checkpoints import template_child
from workbench.checkpoints.json_text import shown

CPU_SECONDS: Final = 10
EXTRA_BYTES: Final = 1 << 30
WALL_SECONDS: Final = 60
"""Besides the limit of processor time; a busy machine takes a while to start a process."""


def render(template: str, messages: Sequence[Mapping[str, str]], tokens: Mapping[str, str]) -> str:
    """Return the text that a chat template makes of messages, oldest first.

    Args:
        template: The template's text.
        messages: Each with `role` and `content`.
        tokens: Names and texts of the special tokens that a template may use.

    Raises:
        UsageError: The template refuses the messages, is no template, or takes too long or too much.
        EnvironmentProblemError: The process cannot be started.
    """
    limits = {"seconds": CPU_SECONDS, "bytes": EXTRA_BYTES}
    asked = {
        "limits": limits,
        "template": template,
        "messages": [dict(one) for one in messages],
        "tokens": dict(tokens),
    }
    command = [sys.executable, str(Path(template_child.__file__))]
    try:
        done = subprocess.run(
            command, input=json.dumps(asked).encode(), capture_output=True, timeout=WALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"the chat template did not end within {WALL_SECONDS} s") from None
    except OSError as error:
        raise EnvironmentProblemError(
            f"no process for the chat template: {error.strerror or error}"
        ) from None
    if done.returncode:
        raise UsageError(_ending(done.returncode, done.stderr))
    answer = json.loads(done.stdout)
    if "text" not in answer:
        reason = str(answer["error"])
        reason = reason if reason.isprintable() else shown(reason, 400)
        raise UsageError(f"the chat template refuses these messages: {reason}")
    return str(answer["text"])


def _ending(code: int, stderr: bytes) -> str:
    if code < 0:
        return (
            f"the chat template did not end within {CPU_SECONDS} s of processor time or "
            f"{EXTRA_BYTES >> 20} MiB (its process ended by signal {-code})"
        )
    last = stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    return f"the chat template could not be rendered: {shown(last[0] if last else f'exit code {code}', 300)}"
