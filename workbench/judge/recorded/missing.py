"""Whether a recorded run is all that was to be recorded, by what it states; its steps are not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tracing.findings_log import FINDINGS_NAME
from tracing.gaps import unrecorded_steps
from tracing.origins import Origin, origins_of
from tracing.path_reader import PathReader
from tracing.reader import Run
from tracing.recording_plan import RecordingPlan, has_open_end, plan_of
from workbench.judge.recorded.state import State


def lost_steps(origins: Sequence[Origin], path: PathReader) -> int:
    """Return how many steps of a path are known to be missing: never recorded, or lost since."""
    remainders = (each for origin in origins for each in origin.paths if each.path == path.name)
    return sum(each.lost or 0 for each in remainders) + sum(unrecorded_steps(path).values())


def lost_findings(origins: Sequence[Origin]) -> tuple[str, ...]:
    """Return why what the judge of the recording found may not be all there."""
    damaged = any(line.startswith(FINDINGS_NAME) for origin in origins for line in origin.damage)
    return ("findings of the recording were lost",) if damaged else ()


def not_whole(run: Run, state: State) -> tuple[str, ...]:
    """Return why a run may not be all that was to be recorded, one clause each; nothing for a run that is.

    Raises:
        TraceError: The manifest states plan or origins that are none.
    """
    return tuple(dict.fromkeys(_not_whole(run, state)))


def _not_whole(run: Run, state: State) -> Iterator[str]:
    origins, is_open = origins_of(run.manifest), has_open_end(run.manifest)
    is_server = is_open and plan_of(run.manifest).open_end is True
    never_closed = state.name != "complete" or any(not origin.was_closed for origin in origins)
    if never_closed and not (is_server and not state.is_damaged):
        yield "the run was never closed whole"
    statuses = {run.status, *(origin.status for origin in origins)}
    if "failed" in statuses:
        yield "the recorded run failed"
    elif "interrupted" in statuses and not never_closed and not is_open:
        yield "the recorded run was interrupted"
    for origin in origins:
        if not origin.format:
            yield "the manifest of the recording was lost"
        yield from (
            f"how many steps of {each.path} were lost is not known"
            for each in origin.paths
            if each.lost is None
        )
    yield from _missing_parts(plan_of(run.manifest), origins)
    if run.path_names == ("reference",):
        yield "only the reference is recorded, not the path under test"


def _missing_parts(plan: RecordingPlan, origins: Sequence[Origin]) -> Iterator[str]:
    missing = sorted(set(range(plan.parts)).difference(plan.part))
    if missing and any(origin.how == "merge" for origin in origins):
        yield f"of {plan.parts} parts of the run {', '.join(map(str, missing))} are missing"
