"""A process of its own that renders one chat template, so that it can neither run nor grow for ever.

Run as a script: JSON with `limits`, `template`, `messages` and `tokens` in, JSON with `text` or `error` out.
Imports nothing of ours, so that the limits leave room for the template alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

MAX_TEXT = 16 << 20


def limit(cpu_seconds: int, extra_bytes: int) -> None:
    """Bound time and memory from here on; a system without such limits has only the caller's clock."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    except OSError:
        return
    most = int(pages) * resource.getpagesize() + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    """Render what stdin asks for."""
    sys.path.pop(0)  # the folder of this script, whose modules have common names
    from transformers.utils.chat_template_utils import render_jinja_template

    asked = json.load(sys.stdin)
    limits = asked["limits"]
    limit(limits["seconds"], limits["bytes"])
    answer: dict[str, str]
    try:
        rendered: Any = render_jinja_template(
            conversations=[asked["messages"]],
            chat_template=asked["template"],
            add_generation_prompt=True,
            **asked["tokens"],
        )
        text = str(rendered[0][0])
        answer = {"text": text} if len(text) <= MAX_TEXT else {"error": f"it makes {len(text):,} characters"}
    except MemoryError:
        answer = {"error": f"it needs more than {limits['bytes'] >> 20} MiB"}
    except RecursionError:
        answer = {"error": "it calls itself without end"}
    except BaseException as error:  # noqa: BLE001  # a template may raise anything
        answer = {"error": (str(error).strip() or type(error).__name__)[:400]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
