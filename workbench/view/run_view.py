"""A run (or two) as the screen asks for it: any step, any stretch of the time line, without reading the rest.

Safe to call from several threads; each call holds the lock only while it reads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tracing.distances import stated_edges
from tracing.errors import TraceError
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.path_reader import InProgressStep
from tracing.reader import Run, open_run
from workbench.judge.align import align
from workbench.view.safe_text import safe_text
from workbench.view.sources import Source, find_sources, key_of, running_key
from workbench.view.step import StepView
from workbench.view.timeline import COLUMNS, FindingCounts, Key, TimelineRow, timeline_rows
from workbench.view.tokens import Tokens

STREAM_RULE: Final = "JUDGE-ALIGN-STREAM"


class RunView:
    """What `specwb view` shows.

    Args:
        folder: A run folder.
        other: A second run to compare it with; else the run's own second path is.
        edges: Lower edges of the distance buckets, None for those that the manifest states.

    Attributes:
        lock: Held while the files are read.
        findings: Findings of the run (of both, where there are two), in the order of the files.

    Raises:
        TraceError: A folder is no run.
    """

    def __init__(
        self, folder: Path, other: Path | None = None, *, edges: tuple[int, ...] | None = None
    ) -> None:
        self.lock = threading.RLock()
        self.folder, self.other_folder = folder, other
        self._edges = edges
        self._run = open_run(folder)
        self._other = None if other is None else open_run(other)
        self._sources: list[Source] = []
        self._sources = find_sources(self._run, self._other, self._sources)
        self.findings: list[Finding] = []
        self._owners: list[str] = []
        self._differences: tuple[Finding, ...] = ()
        self._count_findings()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the sides."""
        return tuple(source.label for source in self._sources)

    @property
    def num_rows(self) -> int:
        """Steps of the time line: finished ones, then those that were running when the trace ends."""
        with self.lock:
            return self.num_finished + len(self._running())

    @property
    def num_finished(self) -> int:
        """Finished steps."""
        return self._sources[0].path.num_steps if self._sources else 0

    @property
    def most_accepted(self) -> int:
        """A scale for acceptance bars: the settings' depth, or 8."""
        depth = self._settings().get("depth")
        return depth + 1 if isinstance(depth, int) and depth >= 0 else 8

    @property
    def is_live(self) -> bool:
        """Another process is writing the run."""
        return bool(self._run.being_written)

    def problems(self) -> list[str]:
        """Return what is damaged or unfinished, as sentences."""
        with self.lock:
            said: list[str] = []
            for run in filter(None, (self._run, self._other)):
                said += run.problems
                said += [each for name in run.path_names for each in run.path(name).problems]
                said += _status_sentence(run)
                if not run.path_names:
                    said.append(f"{run.folder.name} holds no path")
            return [safe_text(each) for each in said]

    def refresh(self) -> bool:
        """Read what was written since; return whether anything is new."""
        with self.lock:
            before = (self.num_rows, len(self.findings), len(self._sources), self._run.status)
            self._run.refresh()
            if self._other is not None:
                self._other.refresh()
            self._sources = find_sources(self._run, self._other, self._sources)
            self._count_findings()
            return before != (self.num_rows, len(self.findings), len(self._sources), self._run.status)

    def compare(self) -> bool:
        """Look where two runs first differ, turn by turn, and add that to the findings.

        Returns:
            Whether there are two runs and they differ.
        """
        if self._other is None or len(self._sources) < 2:
            return False
        left, right = (source.path for source in self._sources)
        found = align(left.batches(), right.batches()).findings()
        with_step = {(each.prompt_id, each.turn) for each in found if each.rule != STREAM_RULE}
        with self.lock:
            # A difference of token streams has a position and no step; the step's own difference leads there.
            self._differences = tuple(
                each
                for each in found
                if each.rule != STREAM_RULE or (each.prompt_id, each.turn) not in with_step
            )
            self._count_findings()
        return bool(found)

    def timeline(self, start: int, stop: int) -> list[TimelineRow]:
        """Return rows `start:stop` of the time line."""
        with self.lock:
            if not self._sources:
                return []
            finished = self._finished_rows(start, stop)
            running = self._running()[max(0, start - self.num_finished) : max(0, stop - self.num_finished)]
            return finished + [_running_row(step, self._counts) for step in running]

    def step(self, row: int) -> StepView:
        """Return one step with both its sides.

        Raises:
            TraceError: There is no such row.
        """
        with self.lock:
            if not self._sources or not 0 <= row < self.num_rows:
                raise TraceError(f"{self.folder.name} has no step in row {row}; it has {self.num_rows}")
            left = self._sources[0].at_row(row)
            key = key_of(left.row)
            sides = [left, *(source.at_key(key, row) for source in self._sources[1:2])]
            found = tuple((n, self.findings[n]) for n in self._numbers_by_key.get(key, ()))
            return StepView(
                Moment(*key),
                left,
                sides[1] if len(sides) > 1 else None,
                self.tokens(),
                found,
                self.edges,
                self._previous(row, key),
                self._run.manifest,
                self.findings,
                self._owners,
            )

    def tokens(self) -> Tokens:
        """Return the texts of the token ids."""
        with self.lock:
            texts = dict(self._run.vocabulary)
            if self._other is not None:
                texts = {**self._other.vocabulary, **texts}
            return Tokens(texts)

    def row_of(self, moment: Moment) -> int:
        """Return the row of a moment.

        Raises:
            TraceError: There is no such step.
        """
        with self.lock:
            key = (moment.prompt_id, moment.turn, moment.step)
            for number, step in enumerate(self._running()):
                if running_key(step) == key:
                    return self.num_finished + number
            row = self._sources[0].index.row_of(key) if self._sources else None
            if row is None:
                raise TraceError(f"no step {key[0]}:{key[1]}:{key[2]} in {self.folder.name}")
            return row

    def moved(self, row: int, unit: str, direction: int) -> int:
        """Return the row after a move by `step`, `turn` or `prompt`, 1 forward or -1 back."""
        with self.lock:
            if unit == "step" or not self._sources:
                return min(max(row + direction, 0), max(0, self.num_rows - 1))
            return self._sources[0].index.moved(min(row, self.num_finished - 1), unit, direction)

    def index_more(self) -> bool:
        """Read some of what finding a moment needs, ahead of need; return whether it is all read."""
        with self.lock:
            return not self._sources or self._sources[0].index.read_some()

    def batches(self, names: Sequence[str], start: int, stop: int) -> Any:
        """Return rows `start:stop` of some columns of the first side as one table, for searching."""
        with self.lock:
            return self._sources[0].path.columns(names, start, stop)

    @property
    def edges(self) -> tuple[int, ...]:
        """Lower edges of the distance buckets."""
        return self._edges or stated_edges(self._run.manifest)

    def _finished_rows(self, start: int, stop: int) -> list[TimelineRow]:
        path, stop = self._sources[0].path, min(stop, self.num_finished)
        if start >= stop:
            return []
        return timeline_rows(path.columns(COLUMNS, start, stop), self._counts)

    def _previous(self, row: int, key: Key) -> Mapping[str, Any] | None:
        """Return the row before this one, if it is the step before in the same turn."""
        source, before = self._sources[0], (key[0], key[1], key[2] - 1)
        return source.path.step(row - 1) if source.has_key(row - 1, before) else None

    def _settings(self) -> Mapping[str, Any]:
        settings = self._run.manifest.get("settings")
        return settings if isinstance(settings, dict) else {}

    def _running(self) -> list[InProgressStep]:
        return self._sources[0].path.in_progress if self._sources else []

    def _count_findings(self) -> None:
        others = self._other.findings if self._other is not None else []
        self.findings = [*self._run.findings, *others, *self._differences]
        if self._other is not None:
            labels = (*self.labels, "", "")
            self._owners = [labels[0]] * len(self._run.findings) + [labels[1]] * len(others)
        self._counts = FindingCounts.of(self.findings)
        self._numbers_by_key: dict[Key, list[int]] = {}
        for number, finding in enumerate(self.findings):
            key = (finding.prompt_id, finding.turn, finding.step)
            self._numbers_by_key.setdefault(key, []).append(number)


def _status_sentence(run: Run) -> list[str]:
    """Say what a run is that is not complete."""
    if run.status == "complete":
        return []
    if run.status == "running" and run.being_written is False:
        return [f"{run.folder.name} was cut off: its writer is gone and did not close it"]
    return [f"{run.folder.name} is {run.status or 'of unknown status'}"]


def _running_row(step: InProgressStep, counts: FindingCounts) -> TimelineRow:
    key = running_key(step)
    return TimelineRow(key, None, "", counts.own.get(key, 0), counts.consequences.get(key, 0), None, "part")
