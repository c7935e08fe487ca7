"""Jobs of the reading threads: read a step, draw its panels, read the time line, search, count."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from textual.message import Message

from tracing.errors import SpecwbError, TraceError
from tracing.ipc_message import CorruptFrameError
from tracing.moment import Moment
from tracing.stream_reader import DisprovedError
from workbench.tui.messages import ModelCall, RunGrew, StepDrawn, TimelineRead
from workbench.tui.reader import Reader
from workbench.view.lines import Lines, note
from workbench.view.panels import PANEL_BY_NAME, panel_for
from workbench.view.run_distance import RunDistance
from workbench.view.run_model import RunModel
from workbench.view.run_strip import StripCount, rows_with_findings
from workbench.view.run_view import RunView
from workbench.view.safe_text import safe_text
from workbench.view.search import Place, find, parse_query
from workbench.view.step import Sight, StepView
from workbench.view.targets import FindingTarget, Target

STRETCHES_PER_NEWS = 32
"""Ranges of rows that are counted, or of batches that are proven, between two updates of the screen."""
STRIP_NEWS = 64 * 1024
"""Rows of the strip between two updates of it."""


class Drawing:
    """Jobs for the two reading threads: `near` for what the user waits for, `far` for what may take long.

    Args:
        view: The run.
        post: Takes messages for the screen; safe to call from any thread.
    """

    def __init__(self, view: RunView, post: Callable[[Message], object]) -> None:
        self.view = view
        self.near, self.far = Reader(self._failed), Reader(self._failed)
        self._post = post
        self._count: RunDistance | None = None
        self._stretches = 0
        self._strip = StripCount(view)

    @property
    def idle(self) -> bool:
        """Nothing is being read."""
        return self.near.idle and self.far.idle

    def stop(self) -> None:
        """End both threads."""
        self.near.stop()
        self.far.stop()

    def step(self, sight: Sight, panels: Iterable[str]) -> None:
        """Read a step and draw some panels of it."""
        names = tuple(dict.fromkeys(panels))
        self.near.submit("step", lambda: self._draw(sight, names))

    def blocks(self, blocks: Iterable[int], size: int) -> None:
        """Read blocks of the time line."""
        wanted = tuple(blocks)

        def job() -> None:
            for block in wanted:
                self._post(TimelineRead(block * size, self.view.timeline(block * size, (block + 1) * size)))

        self.near.submit("timeline", job)

    def move(self, row: int, unit: str, direction: int) -> None:
        """Find the row that a move leads to."""
        self.near.submit("move", lambda: self._post_row(lambda: self.view.moved(row, unit, direction)))

    def locate(self, moment: Moment, panel: str = "", target: Target | None = None) -> None:
        """Find the row of a moment."""
        self.near.submit("move", lambda: self._post_row(lambda: self.view.row_of(moment), panel, target))

    def refresh(self) -> None:
        """Read what was written since."""
        self.near.submit("refresh", lambda: self._post_growth(self.view.refresh))

    def list_findings(self) -> None:
        """Find the rows of all findings."""

        def job() -> None:
            try:
                rows = rows_with_findings(self.view)
            except DisprovedError:  # rows are numbered anew; what grows asks again
                self.refresh()
                rows = rows_with_findings(self.view)
            self._give(lambda model: model.findings_listed(rows))

        self.near.submit("findings", job)

    def find(self, text: str, row: int, node: int | None, direction: int) -> None:
        """Look for something; a newer search ends an older one."""

        def job() -> None:
            query = parse_query(text, self.view)
            hit = find(self.view, query, Place(row, node), direction, lambda _row: self.far.wanted("find"))
            if self.far.wanted("find"):
                self._give(lambda model: model.search_ended(text, hit))

        self.far.submit("find", job)

    def check(self, row: int) -> None:
        """Look for the next step that breaks a rule; a newer search ends it."""

        def job() -> None:
            from workbench.view.violation import (  # a screen opens without all rules
                check_onwards,
                check_whole,
            )

            hit = check_onwards(self.view, row, lambda _row: self.far.wanted("find"))
            if hit is None and self.far.wanted("find"):
                judged = check_whole(self.view)
                self._give(lambda model: model.check_ended(judged))
            elif hit is not None:
                at, number = hit
                finding = self.view.findings[number]
                self._post(RunGrew())
                target = FindingTarget(finding.moment, number)
                self._post_row(lambda: at, panel_for(finding.column), target)

        self.far.submit("find", job)

    def compare(self) -> None:
        """Compare two runs."""
        self.far.submit("compare", lambda: self._post_growth(lambda: self._asked(self.view.compare)))

    def index(self) -> None:
        """Read what finding a moment needs while the user still looks at the first step."""
        self._submit_stretches("index", self.view.index_more)

    def prove(self) -> None:
        """Prove what has not been read yet, a few batches at a time, with searches in between."""
        self._submit_stretches("proof", self.view.prove_more, RunModel.proof_went)

    def count_distances(self) -> None:
        """Count the run's distances, a range of rows at a time, with searches in between."""
        if self._count is None:
            self._count = RunDistance(self.view)
        if not self._count.complete or self._count.total < self.view.num_finished:
            self._submit_stretches("distances", self._count.count_more, RunModel.distances_counted)

    def count_strip(self) -> None:
        """Read the strip of the whole run, a range of rows at a time, with searches in between."""

        def more() -> bool:
            done = self._strip.count_more()
            if done or self._strip.counted % STRIP_NEWS == 0:
                strip = self._strip.strip()
                self._give(lambda model: model.strip_read(strip))
            return done

        self._submit_stretches("strip", more)

    def _submit_stretches(
        self, kind: str, more: Callable[[], bool], news: Callable[[RunModel], object] = lambda _: None
    ) -> None:
        """Call `more` until it says that all is done, a job each time, so that searches come in between."""

        def job() -> None:
            done = more()
            self._stretches += 1
            if done or self._stretches % STRETCHES_PER_NEWS == 0:
                self._give(news)
            if not done:
                self.far.submit(kind, job)

        self.far.submit(kind, job)

    def _give(self, call: Callable[[RunModel], object]) -> None:
        """Give the model an answer, in the screen's thread."""
        self._post(ModelCall(call))

    def _post_row(self, find: Callable[[], int], panel: str = "", target: Target | None = None) -> None:
        row = self._asked(find)
        self._give(lambda model: model.row_found(row, panel, target))

    def _post_growth(self, look: Callable[[], int]) -> None:
        if look():
            self._post(RunGrew())

    def _draw(self, sight: Sight, panels: tuple[str, ...]) -> None:
        try:
            step = self.view.step(sight.row)
        except TraceError as problem:
            lines: Lines = [note("no step was recorded", "warn")]
            if self.view.num_rows:
                lines = [note(safe_text(str(problem)), "bad")]
            self._post(StepDrawn(sight, None, dict.fromkeys(panels, lines)))
            self.refresh()  # as in `_failed`
            return
        shown = sight.look.applied(step)
        drawn = {name: self._panel(name, shown, sight) for name in panels if self.near.wanted("step")}
        if self.near.wanted("step"):
            self._post(StepDrawn(sight, step, drawn))

    def _panel(self, name: str, step: StepView, sight: Sight) -> Lines:
        options = sight.look.options
        lines = PANEL_BY_NAME[name].draw(step, options)
        if name != "distance" or self._count is None:
            return lines
        return self._count.around(lines, sight.row, options.width)

    def _asked(self, question: Callable[[], int]) -> int:
        """Return an answer; where a batch turns out to be damaged, the answer that the rest gives.

        A file is found damaged once at most: it has been read again by then, proving everything.
        """
        while True:
            try:
                return question()
            except DisprovedError:
                self.refresh()

    def _failed(self, problem: Exception) -> None:
        """Report it; where a file turned out to be damaged, the run now has fewer steps."""
        kind = "" if isinstance(problem, SpecwbError) else f"{type(problem).__name__}: "
        sentence = safe_text(f"{kind}{problem}")
        self._give(lambda model: model.notify(sentence, "error"))
        if isinstance(problem, CorruptFrameError):
            self.refresh()
