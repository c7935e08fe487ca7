"""Several runs, one per rank or process, as one sorted run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tracing.copying import Order, closed_status, in_order, whole_run, write_path
from tracing.errors import TraceError, UsageError
from tracing.manifest import OWNED_BY_WRITER, STATUSES
from tracing.origins import ORIGINS, origin_of, with_origin
from tracing.reader import Run
from tracing.recording_plan import UNDECLARED, RecordingPlan, plan_of
from tracing.run_writer import RunWriter


def merge_runs(folders: Sequence[str | Path], out: str | Path) -> int:
    """Write the steps of all runs, sorted by prompt, turn and step, as one run; return their number.

    The manifest is the first run's; `origins` says of all how they ended, and what they lack. Runs that
    declare themselves parts of a whole are refused where two claim the same part.

    Raises:
        UsageError: No run is given.
        TraceError: A run is damaged; two runs hold the same step of a path, name a token differently, or
            have a bulk tensor of the same name.
    """
    if not folders:
        raise UsageError("merge needs at least one run")
    opened = [whole_run(folder) for folder in folders]
    runs = [run for run, _ in opened]
    plan = _joined_plan(runs)
    vocabulary = _joined_vocabulary(runs)
    facts = {key: value for key, value in runs[0].manifest.items() if key not in OWNED_BY_WRITER}
    facts[ORIGINS] = [
        each for run, health in opened for each in with_origin(run, origin_of(run, health, "merge"))
    ]
    facts |= plan.as_manifest() if plan != UNDECLARED else {}
    names = list(dict.fromkeys(name for run in runs for name in run.path_names))
    orders = {name: _order([run for run in runs if name in run.path_names], name) for name in names}
    with RunWriter(out, facts, token_bytes=vocabulary.__getitem__ if vocabulary else None) as merged:
        for name in names:
            paths = [run.path(name) for run in runs if name in run.path_names]
            write_path(merged, paths, in_order(paths, orders[name]))
        if vocabulary:
            merged.add_tokens(vocabulary)
        findings = [finding for run in runs for finding in run.findings]
        for finding in sorted(findings, key=lambda each: each.moment.place):
            merged.add_finding(finding)
        _adopt_bulk(merged, runs)
        merged.close(max(map(closed_status, runs), key=STATUSES.index))
    return sum(len(order) for order in orders.values())


def _joined_plan(runs: Sequence[Run]) -> RecordingPlan:
    """Return the plan of the whole: that of the first run, with the parts of all.

    Raises:
        TraceError: The runs are of different numbers of parts, or two hold the same one.
    """
    plans = [plan_of(run.manifest) for run in runs]
    seen: dict[int, Run] = {}
    for run, plan in zip(runs, plans, strict=True):
        if plan.parts != plans[0].parts:
            raise TraceError(
                f"{run.folder} is of {plan.parts} parts and {runs[0].folder} of {plans[0].parts}; "
                "merge the parts of one whole"
            )
        for part in plan.part if plan.parts > 1 else ():
            if part in seen:
                raise TraceError(f"{run.folder} and {seen[part].folder} both hold part {part}")
            seen[part] = run
    return replace(plans[0], part=tuple(sorted(seen)) or (0,))


def _joined_vocabulary(runs: list[Run]) -> dict[int, bytes | None]:
    joined: dict[int, bytes | None] = {}
    for run in runs:
        for token_id, raw in run.vocabulary.items():
            if joined.setdefault(token_id, raw) != raw:
                raise TraceError(
                    f"token {token_id} is {raw!r} in {run.folder} and {joined[token_id]!r} in another run; "
                    f"runs of different tokenizers cannot be merged"
                )
    return joined


def _order(runs: list[Run], name: str) -> Order:
    """Return (run, row) of every step of a path in the order of its keys."""
    keys = [run.path(name).keys() for run in runs]
    places = np.concatenate(
        [
            np.stack([np.full(len(each), number), np.arange(len(each))], axis=1)
            for number, each in enumerate(keys)
        ]
    )
    every = np.concatenate(keys)
    order = np.lexsort((places[:, 1], places[:, 0], *every.T[::-1]))
    every, places = every[order], places[order]
    for at in np.flatnonzero((every[1:] == every[:-1]).all(axis=1))[:1]:
        first, second = (runs[number].folder for number in places[at : at + 2, 0])
        raise TraceError(
            f"step {':'.join(map(str, every[at]))} of path {name} is in {first} "
            f"and in {second}; give each rank its own prompt ids"
        )
    return places


def _adopt_bulk(merged: RunWriter, runs: list[Run]) -> None:
    seen: set[str] = set()
    for run in runs:
        for entry in run.manifest.get("bulk", []):
            if entry["file"] in seen:
                raise TraceError(f"{entry['file']} is in two of the runs")
            seen.add(entry["file"])
            merged.adopt_bulk(run.folder, entry)
