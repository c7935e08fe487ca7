"""The condition of a recorded run: damaged, unfinished, judged or not, and how much of it is proven."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tracing.moment import Moment
from tracing.path_reader import PathReader
from tracing.reader import Run
from workbench.judge.recorded.load_warnings import load_warnings
from workbench.view.safe_text import safe_text

PROVEN_AT_ONCE = 8
"""Batches that are proven while the lock is held: a few milliseconds."""


def problem_sentences(runs: Iterable[Run]) -> list[str]:
    """Return what is damaged or unfinished, as sentences that are safe to show."""
    sentences: list[str] = []
    for run in runs:
        sentences += _damage(run)
        sentences += _status_sentence(run)
        sentences += load_warnings(run.manifest)
        if not run.path_names:
            sentences.append(f"{run.folder.name} has no path")
    return [safe_text(each) for each in sentences]


def nothing_found(manifest: Mapping[str, Any], *, being_written: bool) -> str:
    """Return what it means that a run holds no findings."""
    if being_written:
        return "nothing found so far"
    verdict = manifest.get("verdict")
    if verdict is None:
        return "no findings are recorded, and the run was perhaps never judged: K checks it"
    if verdict == "inconclusive":
        return "no findings are recorded, but the run is inconclusive: too little of it was judged"
    hidden = manifest.get("could_hide")
    return "nothing was found in this run" + (f"; could hide: {safe_text(str(hidden))}" if hidden else "")


def nothing_found_in_step(moment: Moment, verdicts: Iterable[str | None]) -> str:
    """Return what it means that a step holds no findings.

    Args:
        moment: The step.
        verdicts: Of the judge on the step, by side; None where it has none.
    """
    if any(verdict is not None for verdict in verdicts):
        return f"nothing was found in step {moment}"
    return f"no findings are recorded in step {moment}, and no judge gave a verdict on it: K checks it"


def proof_sign(runs: Iterable[Run]) -> str:
    """Return, in a word or two, how much of the steps' files is proven to be as written."""
    runs = list(runs)
    paths = list(_paths(runs))
    total = sum(len(path.stream.batches) for path in paths)
    left = sum(path.num_unproven for path in paths)
    if left:
        return f"{100 * (total - left) // total} % proven"
    return "damaged" if any(_damage(run) for run in runs) else "proven"


def prove_more(runs: Iterable[Run]) -> bool:
    """Prove a few more batches; return whether none is left.

    Raises:
        DisprovedError: A batch is not what was written; its rows are gone.
    """
    for path in _paths(runs):
        if path.num_unproven:
            path.prove_some(PROVEN_AT_ONCE)
            return False
    return True


def _paths(runs: Iterable[Run]) -> Iterator[PathReader]:
    for run in runs:
        yield from (run.path(name) for name in run.path_names)


def _damage(run: Run) -> list[str]:
    return [*run.problems, *(each for path in _paths([run]) for each in path.problems)]


def _status_sentence(run: Run) -> list[str]:
    """Return the status of a run that is not complete."""
    if run.status == "complete":
        return []
    if run.status == "running" and run.being_written is False:
        return [f"{run.folder.name} was cut off: its writer is gone and did not close it"]
    return [f"{run.folder.name} is {run.status or 'of unknown status'}"]
