"""A recorded run written again with some rows changed: what a fault in the engine leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracing.copying import OWNED_BY_WRITER
from tracing.reader import open_run
from tracing.recorder import RunWriter

Row = dict[str, Any]


def rewrite(source: Path, target: Path, change: Callable[[str, Row], Row], **manifest: Any) -> Path:
    run = open_run(source)
    facts = {key: value for key, value in run.manifest.items() if key not in OWNED_BY_WRITER}
    with RunWriter(target, {**facts, **manifest}) as writer:
        for name in run.path_names:
            path = run.path(name)
            trace = writer.path(name, lacks=path.entry.get("lacks", ()), info=path.entry.get("info"))
            for row in path:
                values = change(name, dict(row))
                keys = {key: values.pop(key) for key in ("prompt_id", "turn", "step")}
                with trace.step(**keys) as step:
                    step.record(**{key: value for key, value in values.items() if value is not None})
        for finding in run.findings:
            writer.add_finding(finding)
    return target
