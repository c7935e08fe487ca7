"""A run (or two) as the screen reads it: any step, any range of the time line, without reading the rest.

Safe to call from several threads; each call holds the lock only while it reads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracing.distances import stated_edges
from tracing.errors import TraceError
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.path_reader import InProgressStep
from tracing.reader import Run, open_run
from workbench.view.chain_file import read_chain
from workbench.view.condition import NoFindings, nothing_found_in, problem_sentences, proof_sign, prove_more
from workbench.view.fed import with_fed
from workbench.view.run_findings import RunFindings
from workbench.view.sources import Sides, Source, each_locked, key_of, running_key
from workbench.view.step import StepView
from workbench.view.timeline import COLUMNS, Key, TimelineRow, timeline_rows, unfinished_row
from workbench.view.tokens import Tokens


class RunView:
    """What `specwb view` shows.

    Args:
        folder: A run folder.
        other: A second run to compare it with; else the run's own second path is.
        edges: Lower edges of the distance buckets, None for those that the manifest states.
        lazily: Prove each batch when it is read, the rest with calls of `prove_more`.

    Attributes:
        lock: Held while the files are read.

    Raises:
        TraceError: A folder is no run.
    """

    def __init__(
        self,
        folder: Path,
        other: Path | None = None,
        *,
        edges: tuple[int, ...] | None = None,
        lazily: bool = False,
    ) -> None:
        self.lock = threading.RLock()
        self.folder, self.other_folder = folder, other
        self._edges = edges
        self._run = open_run(folder, lazily=lazily)
        self._other = None if other is None else open_run(other, lazily=lazily)
        self._runs = tuple(each for each in (self._run, self._other) if each is not None)
        self._sides = Sides(self._runs)
        self._findings = RunFindings(self._run, self._other)
        self._findings.count(self.labels)
        self._known_condition = self._condition()
        self._checked: NoFindings | None = None

    @property
    def findings(self) -> list[Finding]:
        """Findings of the run (of both, where there are two), in the order of the files."""
        return self._findings.all

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the sides."""
        return self._sides.labels

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
        settings = self._run.manifest.get("settings")
        depth = settings.get("depth") if isinstance(settings, dict) else None
        return depth + 1 if isinstance(depth, int) and depth >= 0 else 8

    def problems(self) -> list[str]:
        """Return what is damaged or unfinished, as sentences."""
        with self.lock:
            return problem_sentences(self._runs)

    def proof(self) -> str:
        """Return how much of the steps' files is proven to be as written; never waits for a reader."""
        return proof_sign(self._runs)

    def prove_more(self) -> bool:
        """Prove some more of the files; return whether all is proven.

        Raises:
            DisprovedError: A batch is not what was written; `refresh` reports that its rows are gone.
        """
        with self.lock:
            return prove_more(self._runs)

    def judged(self) -> NoFindings:
        """Return what it means that a run holds no findings."""
        with self.lock:
            return self._checked or nothing_found_in(self._run)

    def set_checked(self, judged: NoFindings) -> None:
        """Keep what a check of the whole run says, until the run changes."""
        with self.lock:
            self._checked = judged

    def refresh(self) -> bool:
        """Read what was written since; return whether anything has changed since the last call."""
        with self.lock:
            for run in self._runs:
                run.refresh()
            self._sides.refresh()
            self._findings.count(self.labels)
            before, self._known_condition = self._known_condition, self._condition()
            if before == self._known_condition:
                return False
            self._checked = None
            return True

    def show_path(self, name: str) -> None:
        """Show a path first, of both runs where there are two.

        Raises:
            UsageError: No such path is recorded.
        """
        with self.lock:
            self._sides.put_first(name)
            self._findings.count(self.labels)

    def show_next_path(self) -> str:
        """Show the next path first, and return its name; empty where there is none."""
        name = self._sides.next_path
        if name:
            self.show_path(name)
        return name

    def _condition(self) -> tuple[object, ...]:
        """What makes a screen read the run again when it changes."""
        damage = len(self.problems())
        return self.num_rows, len(self.findings), len(self._sources), self._run.status, damage

    def compare(self) -> bool:
        """Look where two runs first differ, turn by turn, and add that to the findings.

        Returns:
            Whether there are two runs and they differ.
        """
        if self._other is None or len(self._sources) < 2:
            return False
        from workbench.judge.align import STREAM_RULE, align  # slow to import, and seldom asked

        left, right, *_ = (each_locked(self.lock, each.path.batches()) for each in self._sources)
        found = align(left, right).findings()
        # A difference of token streams has no step: one of steps in the same turn leads there instead.
        with_step = {each.moment.place[:2] for each in found if each.rule != STREAM_RULE}
        kept = [each for each in found if each.rule != STREAM_RULE or each.moment.place[:2] not in with_step]
        with self.lock:
            self._findings.set_differences(kept, self.labels)
        return bool(found)

    @property
    def _sources(self) -> list[Source]:
        return self._sides.shown

    @property
    def left(self) -> tuple[Run, str]:
        """The run of the first side, and the name of its path."""
        return self._run, self._sources[0].path.name if self._sources else ""

    def add_findings(self, found: Sequence[Finding]) -> list[int]:
        """Add what was found just now to the findings, once each, and return their numbers."""
        with self.lock:
            return self._findings.add_checked(found, self.labels)

    def timeline(self, start: int, stop: int) -> list[TimelineRow]:
        """Return rows `start:stop` of the time line."""
        with self.lock:
            if not self._sources:
                return []
            num_finished, found = self.num_finished, self._findings.of_step
            table = self._sources[0].path.columns(COLUMNS, min(start, num_finished), min(stop, num_finished))
            running = self._running()[max(0, start - num_finished) : max(0, stop - num_finished)]
            return timeline_rows(table, found) + [
                unfinished_row(running_key(step), found) for step in running
            ]

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
            others = [source.at_key(key, row) for source in self._sources[1:2]]
            left = with_fed(left, others if self._other is None else [], self._run.manifest)
            return StepView(
                Moment(*key),
                left,
                others[0] if others else None,
                self.tokens(),
                self._findings.of_step(key),
                self.edges,
                self._previous(row, key),
                self._run.manifest,
                self.findings,
                self._findings.owners,
                self.judged(),
                partial(self._sources[0].history, row, key, self.lock),
                read_chain(self.folder),
                partial(self._sources[0].launch, key, self._run.manifest),
            )

    def tokens(self) -> Tokens:
        """Return the texts of the token ids."""
        with self.lock:
            return Tokens({**(self._other.vocabulary if self._other else {}), **self._run.vocabulary})

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

    def whole_batches(self, start: int, stop: int) -> list[pa.RecordBatch]:
        """Return rows `start:stop` of all columns of the first side."""
        with self.lock:
            return list(self._sources[0].path.batches(start=start, stop=stop))

    @property
    def edges(self) -> tuple[int, ...]:
        """Lower edges of the distance buckets."""
        return self._edges or stated_edges(self._run.manifest)

    def _previous(self, row: int, key: Key) -> Mapping[str, Any] | None:
        """Return the row before this one, if it is the step before in the same turn."""
        source, before = self._sources[0], (key[0], key[1], key[2] - 1)
        return source.path.step(row - 1) if source.has_key(row - 1, before) else None

    def _running(self) -> list[InProgressStep]:
        return self._sources[0].path.in_progress if self._sources else []
