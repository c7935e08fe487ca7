"""Small recorded runs with known faults, for the tests of the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.view.columns import step_columns
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.recorder import RunWriter

HOSTILE = {
    7: b"\x1b[31mred\x1b]0;owned\x07",
    8: "\u202eright to left".encode(),
    9: "宽字符".encode(),
    10: b"\xff\xfe",
    11: "\u0301mark".encode(),
    12: b"\n\t",
}


def token_bytes(token_id: int) -> bytes:
    """Bytes of a made-up vocabulary with a few tokens that try to hurt a terminal."""
    return HOSTILE.get(token_id, f" w{token_id}".encode())


def finding(step: int, column: str = "visible", node: int | None = 4, **facts: Any) -> Finding:
    """One finding on the fused path."""
    message = f"something is wrong with {column}"
    where = Moment(facts.pop("prompt_id", 0), facts.pop("turn", 0), step, facts.pop("stage", "verify"), node)
    known = {"rule": "MASK001", "message": message}
    return Finding("structural", "fused", where, column, **(known | facts))


def write_run(
    folder: Path,
    num_steps: int = 3,
    *,
    changes: dict[int, dict[str, Any]] | None = None,
    findings: tuple[Finding, ...] = (),
    turns: int = 1,
    paths: tuple[str, ...] = ("fused", "reference"),
    keep: tuple[str, ...] | None = None,
    seed: int = 0,
    **manifest: Any,
) -> Path:
    """Record a small run.

    Args:
        changes: By step, columns to change on the first path.
        keep: Columns to record, all when None.
        seed: Added to the step before columns are made up, for runs that differ.
        manifest: More of the manifest.
    """
    with RunWriter(folder, {"lockstep": "staged", **manifest}, token_bytes=token_bytes) as run:
        for name in paths:
            lacks = ("slots", "commit_mode") if name == "reference" else ()
            trace = run.path(name, lacks=lacks)
            for turn in range(turns):
                for step in range(num_steps):
                    columns = step_columns(step + seed)
                    if name == paths[0]:
                        columns |= (changes or {}).get(step, {})
                    with trace.step(turn=turn, step=step) as recorded:
                        recorded.record(
                            **{
                                column: value
                                for column, value in columns.items()
                                if column not in lacks and (keep is None or column in keep)
                            }
                        )
        for each in findings:
            run.add_finding(each)
    return folder


def leaked(step: int = 1, query: int = 4) -> tuple[dict[int, dict[str, Any]], tuple[int, int]]:
    """Return changes that show one draft node to another that is not its descendant, and the cell."""
    columns = step_columns(step)
    visible = columns["visible"].copy()
    key = next(key for key in range(1, query) if not visible[query, key])
    visible[query, key] = True
    return {step: {"visible": visible}}, (query, key)
