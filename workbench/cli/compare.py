"""`specwb diff RUN_A RUN_B`: the first difference of two recordings; no models, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracing.columns import COLUMN_BY_NAME, KEY_COLUMNS, LEVELS
from tracing.errors import UsageError
from tracing.origins import origins_of
from tracing.reader import Run, open_run
from tracing.schema import columns_of_level
from tracing.stream_reader import DisprovedError
from workbench.cli.output import say, show
from workbench.judge.align import Alignment, align
from workbench.judge.align_columns import default_columns
from workbench.judge.recorded.missing import lost_steps, not_whole
from workbench.judge.recorded.state import State, state_of
from workbench.judge.share import Part
from workbench.report.text import finding_line
from workbench.view.counted import counted

AFTER = "from there on only emitted tokens were compared"
DIFFERENT, DAMAGED, INCONCLUSIVE = 1, 2, 4
NEEDED = ("committed_len", "emitted_token_ids", "token_ids")
"""What places a difference, whether it is compared or not."""


def compare_runs(folders: tuple[str, ...], output_format: str) -> int:
    """Compare the first path of two runs and print what differs.

    Returns:
        0 the same, 1 different, 2 a run is not as it was written, 4 nothing could be compared or a run was
        never closed, so that its other steps are not known.

    Raises:
        UsageError: Not two folders.
        TraceError: A folder is no readable run.
    """
    if len(folders) != 2:
        raise UsageError(f"give --prompt FILE, or two runs to compare; got {counted(len(folders), 'run')}")
    try:
        left, right = (open_run(folder, lazily=True) for folder in folders)
        alignment = _align(left, right)
        _prove_rest(left, right)
    except DisprovedError:  # one is damaged: what is whole of it is known once all is proven
        left, right = (open_run(folder) for folder in folders)
        alignment = _align(left, right)
    states = [state_of(run) for run in (left, right)]
    parts = [why for run, state in zip((left, right), states, strict=True) for why in _why_part(run, state)]
    exit_code = _exit_code(alignment, states, parts)
    problems = [
        f"{run.folder}: {problem}"
        for run, state in zip((left, right), states, strict=True)
        for problem in state.problems
    ]
    for problem in problems:
        say(f"trace       {problem}", err=True)
    show(
        output_format,
        lambda: _as_json(alignment, exit_code) | {"problems": problems, "parts": parts},
        lambda: _lines(alignment, exit_code, parts),
    )
    return exit_code


def _prove_rest(*runs: Run) -> None:
    """Prove what the comparison did not read.

    Raises:
        DisprovedError: A batch is not what was written.
    """
    for path in (run.path(name) for run in runs for name in run.path_names):
        path.prove_some(path.num_unproven)


def _align(left: Run, right: Run) -> Alignment:
    paths = [run.path((*run.path_names, "fused")[0]) for run in (left, right)]
    absent = [_absent(path.entry) for path in paths]
    bits = left.manifest.get("versions") == right.manifest.get("versions")
    columns = default_columns(bits=bits, lacks=absent[0] | absent[1])
    names = list(dict.fromkeys([*KEY_COLUMNS, *NEEDED, *(column.name for column in columns)]))
    first, second = (path.sealed_batches(names) for path in paths)
    alignment = align(first, second, columns)
    alignment.not_compared |= {name for name in absent[0] ^ absent[1] if COLUMN_BY_NAME[name].compared}
    return alignment


def _absent(entry: Mapping[str, Any]) -> frozenset[str]:
    """Return the columns that a path cannot have, or that are above the level it was recorded at."""
    level = entry.get("level", LEVELS[-1])
    kept = columns_of_level(level) if level in LEVELS else frozenset(COLUMN_BY_NAME)
    return frozenset(COLUMN_BY_NAME) & (frozenset(entry.get("lacks", ())) | (COLUMN_BY_NAME.keys() - kept))


def _why_part(run: Run, state: State) -> tuple[str, ...]:
    """Return why a run may not be all that was recorded; what is missing is not known to be the same."""
    origins, path = origins_of(run.manifest), run.path(run.path_names[0])
    lost = lost_steps(origins, path)
    steps = Part(path.num_steps, path.num_steps + lost)
    few = () if steps.is_enough else (f"only {steps} steps are there",)
    return tuple(f"{run.folder.name}: {why}" for why in (*not_whole(run, state), *few))


def _exit_code(alignment: Alignment, states: Sequence[State], parts: Sequence[str]) -> int:
    if any(state.is_damaged for state in states):
        return DAMAGED
    if alignment.num_turns_differing:
        return DIFFERENT
    return 0 if alignment.same and not parts else INCONCLUSIVE


def _lines(alignment: Alignment, exit_code: int, parts: Sequence[str]) -> list[str]:
    ties = alignment.num_ties > 0
    why = "; ".join(parts) if alignment.same else "nothing compared"
    verdict = {
        0: "the same",
        DIFFERENT: "different",
        DAMAGED: "not known (a run is damaged; what could be read is below)",
        INCONCLUSIVE: f"inconclusive ({why})",
    }
    differing = _turns(alignment.num_turns_differing, "differs", "differ")
    tied = _turns(alignment.num_ties, "orders", "order")
    return [
        f"verdict     {verdict[exit_code]}",
        f"steps       {alignment.num_steps} equal; {differing}",
        *([f"ties        {tied} equal draft scores in two ways; {AFTER}"] * ties),
        *(
            f"{'then' if number else 'first':<11} {finding_line(finding)}"
            for number, finding in enumerate(alignment.findings())
        ),
        *(
            f"not compared {name}: one of the runs does not have it"
            for name in sorted(alignment.not_compared)
        ),
    ]


def _as_json(alignment: Alignment, exit_code: int) -> dict[str, Any]:
    findings = [finding.as_json() for finding in alignment.findings()]
    return {
        "exit_code": exit_code,
        "same": exit_code == 0,
        "steps": alignment.num_steps,
        "ties": alignment.num_ties,
        "turns_differing": alignment.num_turns_differing,
        "first_divergence": findings[0] if findings else None,
        "findings": findings,
        "not_compared": sorted(alignment.not_compared),
    }


def _turns(count: int, singular: str, plural: str) -> str:
    return f"{counted(count, 'turn')} {singular if count == 1 else plural}"
