"""Small runs that attacks change: two runs, closed and killed, and earlier states of each."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from attack.history import content
from tracing.errors import TraceError
from tracing.finding import Finding
from tracing.integrity import STATES, RunHealth, verify_run
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter

PATHS = ("fused", "reference")
STEPS = 9
Content = dict[str, list[tuple[int, ...]]]
"""Path, or `findings` or `tokens`, to what of it is read."""


def make_runs(folder: Path) -> None:
    """Write two runs, `a` and `b`, into a folder: `a-closed`, and `a-0` to `a-8` as kills leave them.

    Each has two paths, findings, a vocabulary and tensors; `b` has other prompts.
    """
    for name, prompt_id in (("a", 0), ("b", 50)):
        live = folder / f"{name}-closed"
        with RunWriter(live, token_bytes=lambda token_id: b"%d" % token_id) as run:
            traces = [run.path(path, level="basic") for path in PATHS]
            for step in range(STEPS):
                for number, trace in enumerate(traces):
                    tokens, final = content(prompt_id + number, step)
                    with trace.step(prompt_id=prompt_id + number, step=step) as recorded:
                        recorded.record(token_ids=tokens, parents=[0] * len(tokens))
                        recorded.about_to_run("verify", committed_len=step)
                        recorded.record(final_token_id=final)
                    if step in {2, 3, 6}:
                        trace.seal()
                run.add_finding(Finding("ok", "unknown", Moment(prompt_id, 0, step, "verify"), ""))
                if step % 4 == 0:
                    run.save_bulk(Moment(prompt_id, 0, step, "verify"), "logits", np.arange(3.0) + step)
                shutil.copytree(live, folder / f"{name}-{step}", ignore=shutil.ignore_patterns("lock"))


def content_of(folder: Path) -> Content:
    """Return everything that is read of a run."""
    run = open_run(folder)
    found: Content = {}
    for name in run.path_names:
        table = run.path(name).columns(["prompt_id", "step", "token_ids", "final_token_id"])
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        found[name] = [(prompt_id, step, *tokens, final) for prompt_id, step, tokens, final in rows]
    found["findings"] = [each.moment.place for each in run.findings]
    used = {token for name in run.path_names for row in found[name] for token in row[2:]}
    found["unnamed"] = sorted((token_id,) for token_id in used - run.vocabulary.keys())
    found["tokens"] = sorted(
        (token_id, *(raw or ())) for token_id, raw in run.vocabulary.items() if token_id in used
    )
    return found


def is_part(found: Content, whole: Content) -> bool:
    """Whether all steps and findings that are read were recorded, in their order, nothing twice."""
    for name, rows in found.items():
        known = iter(whole.get(name, []))
        if name not in {"tokens", "unnamed"} and not all(row in known for row in rows):
            return False
    return True


def health_of(folder: Path) -> RunHealth | None:
    """Return the health of a run; None where it is refused."""
    try:
        return verify_run(folder)
    except TraceError:
        return None


def is_worse(now: RunHealth | None, before: RunHealth) -> bool:
    """Whether a run is refused, or something in it is in a worse state than before."""
    if now is None or STATES.index(now.state) > STATES.index(before.state):
        return True
    states = {file.name: file.state for file in before.files}
    return any(
        STATES.index(file.state) > STATES.index(states.get(file.name, "complete"))
        or file.message.endswith("are missing")
        for file in now.files
    )
