"""The condition of a recorded run: damaged, unfinished, judged or not, and how much of it is proven."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tracing.path_reader import PathReader
from tracing.reader import Run
from workbench.view.safe_text import safe_text

PROVEN_AT_ONCE = 8
"""Batches that are proven while the lock is held: a few milliseconds."""


def problem_sentences(runs: Iterable[Run]) -> list[str]:
    """Return what is damaged or unfinished, as sentences that are safe to show."""
    sentences: list[str] = []
    for run in runs:
        sentences += _damage(run)
        sentences += _status_sentence(run)
        if not run.path_names:
            sentences.append(f"{run.folder.name} has no path")
    return [safe_text(each) for each in sentences]


def nothing_found(run: Run) -> str:
    """Return what it means that a run holds no findings."""
    if run.being_written:
        return "nothing found so far"
    if run.manifest.get("verdict") is None:
        return "no findings are recorded, and the run was perhaps never judged: K checks it"
    return "nothing was found in this run"


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
