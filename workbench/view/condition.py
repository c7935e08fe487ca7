"""The condition of a recorded run: damaged, unfinished, judged or not, and how much of it is proven."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tracing.errors import TraceError
from tracing.moment import Moment
from tracing.origins import origins_of
from tracing.path_reader import PathReader
from tracing.reader import Run
from workbench.judge.recorded.load_warnings import load_warnings
from workbench.judge.recorded.missing import lost_steps, not_whole
from workbench.judge.recorded.state import State
from workbench.judge.share import Part
from workbench.view.safe_text import safe_text

NOTHING_WRONG: Final = ("ok", "near_tie", "inconclusive")
"""Verdicts of a run without findings."""
PROVEN_AT_ONCE: Final = 8
"""Batches that are proven while the lock is held: a few milliseconds."""

DAMAGED: Final = "damaged"
"""Sign of a run of which something is not there as it was written."""


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


@dataclass(frozen=True, slots=True)
class NoFindings:
    """What it means that a run holds no findings.

    Attributes:
        text: One sentence, with the verdict and what it rests on, safe to show.
        is_good: Somebody judged the run and found nothing.
    """

    text: str
    is_good: bool = False


NOT_JUDGED: Final = NoFindings("no findings are recorded, and the run was perhaps never judged: K checks it")


def nothing_found(
    manifest: Mapping[str, Any], *, being_written: bool = False, doubts: Sequence[str] = ()
) -> NoFindings:
    """Return what it means that a run holds no findings, by its manifest.

    Args:
        manifest: Of the run.
        being_written: A living writer holds it.
        doubts: Why it is not all that was judged, as `doubts_of` gives them.
    """
    if being_written:
        return NoFindings("nothing found so far")
    verdict = manifest.get("verdict")
    if verdict is None:
        return NOT_JUDGED
    remark = safe_text(str(manifest.get("remark") or ""))
    if verdict not in NOTHING_WRONG:
        return NoFindings(f"the run was judged {safe_text(str(verdict))}, and its findings are not recorded")
    if verdict == "inconclusive" or doubts:
        why = safe_text("; ".join(doubts)) or remark or "too little of it was judged"
        return NoFindings(f"no findings are recorded, but the run is inconclusive: {why}")
    rests = remark or "what it rests on is not recorded, K checks it"
    hidden = manifest.get("could_hide")
    could = f"; could hide: {safe_text(str(hidden))}" if hidden else ""
    return NoFindings(f"nothing was found in this run: {verdict} ({rests}){could}", is_good=True)


def nothing_found_in(run: Run) -> NoFindings:
    """Return what it means that a run holds no findings, by what it states and what of it is there."""
    return nothing_found(run.manifest, being_written=bool(run.being_written), doubts=doubts_of(run))


def doubts_of(run: Run) -> tuple[str, ...]:
    """Return why a run is not all that its judge saw, as `specwb check` says it; no step is read."""
    damaged = bool(_damage(run))
    closed = not damaged and run.status not in {"", "running"}
    try:
        missing = list(not_whole(run, State("complete" if closed else "truncated", damaged, ())))
        origins = origins_of(run.manifest)
    except TraceError as problem:
        return (str(problem),)
    for path in _paths([run]):
        steps = Part(path.num_steps, path.num_steps + lost_steps(origins, path))
        if not steps.is_enough:
            missing.append(f"only {steps} steps of {path.name} are there")
    return tuple(missing)


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
    return DAMAGED if any(_damage(run) for run in runs) else "proven"


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
