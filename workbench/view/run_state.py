"""What the run screen shows, without a terminal: row, step, panels, selection, findings, search, history.

What is read in the background comes back through `row_found`, `step_drawn`, `search_ended`,
`distances_counted` and `run_grew`; what its keys do is in `run_model.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from tracing.moment import Moment
from workbench.view.condition import NoFindings
from workbench.view.history import History, Location
from workbench.view.panel_layout import PanelLayout
from workbench.view.panels import panel_for, panel_of_stage, target_of
from workbench.view.run_effects import Effects, Notification, RunJobs, Severity
from workbench.view.run_findings import FindingOrder
from workbench.view.run_strip import Strip
from workbench.view.run_view import RunView
from workbench.view.search import Hit
from workbench.view.step import Look, Sight, StepView
from workbench.view.tabs import panels_shown_for
from workbench.view.targets import FindingTarget, NodeTarget, Target

MIN_WIDTH: Final = 40


class RunState:
    """State of the run screen, and how it comes to show something else.

    Args:
        view: The run.
        jobs: Reads what is asked for.
        follow: The run is being written; show its last step whenever one comes.

    Attributes:
        row: Row of the time line that is shown or being read.
        num_rows: Rows of the time line.
        listed: Those of them that the list of steps shows.
        only_findings: These are the ones with findings.
        step: The step that was read last, None before the first.
        arrived: That step is the one of `row`.
        look: How it is looked at.
        found_number: Finding that was gone to last, None for none.
        following, live: The last step is shown whenever one comes; the run is read again and again.
        order: Findings in the order of the run.
        query: Last search, empty before the first.
        target, linked: What the cursor of the active panel is on; what is selected elsewhere.
        known_panels: Panels that had something to show in a step that was read.
        strip: Accepted length, verdict and time of the steps, as far as read.
    """

    def __init__(self, view: RunView, jobs: RunJobs, *, follow: bool = False) -> None:
        self.view, self.layout = view, PanelLayout()
        self.row = self.num_rows = 0
        self.listed: Sequence[int] = range(0)
        self.only_findings = False
        self.step: StepView | None = None
        self.arrived = False
        self.look = Look()
        self.found_number: int | None = None
        self.following = self.live = follow
        self.order = FindingOrder(())
        self.query = ""
        self.target: Target | None = None
        self.linked: Target | None = None
        self.known_panels: frozenset[str] = frozenset()
        self.strip = Strip()
        self._jobs = jobs
        self._effects = Effects()
        self._history = History()
        self._wanted: tuple[str, Target | None] | None = None  # panel, and what to select in it once drawn
        self._looked_at: Target | None = None  # what the cursor was on when the look changed
        self._version = 0  # counts what was read of the run beyond the step
        self._has_size = False

    def take_effects(self) -> Effects:
        """Return what the screen has to do, once."""
        effects, self._effects = self._effects, Effects()
        return effects

    def start(self, moment: Moment | None) -> None:
        """Begin at a moment; without one at the first step, or at the last of a run that is followed."""
        self._take_run()
        if moment is not None:
            self.locate(moment)
        elif self.following:
            self._show_last()

    def resize(self, columns: int, lines: int) -> None:
        """Show as many panels as there is room for."""
        self.layout.resize(columns, lines)
        self._has_size = True
        self._draw()

    def cursor(self, target: Target | None, linked: Target | None, width: int) -> None:
        """Note what the cursor of the active panel is on, and how many cells wide the panel is."""
        self.target, self.linked = target, linked
        options = replace(self.look.options, width=max(MIN_WIDTH, width))
        self.look = replace(self.look, options=options)

    def choose_row(self, row: int) -> None:
        """Show a row that was chosen on the time line."""
        self.following = False
        self.row, self.arrived, self.found_number, self._wanted = row, False, None, None
        self._looked_at = None
        self._draw()

    def row_found(self, row: int, panel: str, target: Target | None) -> None:
        """Go to a row that was asked for by its moment, or by a move."""
        self._go_to(row, panel, target)
        if isinstance(target, FindingTarget):
            self.found_number = target.number

    def step_drawn(self, sight: Sight, step: StepView | None, panels: Iterable[str]) -> tuple[int, ...]:
        """Take over a step; return the slots whose panels were drawn of it."""
        if sight.row != self.row:
            return ()
        self.step, self.arrived = step, True
        if step is not None:
            self.known_panels |= panels_shown_for(step)
        return self.layout.drawn(sight, frozenset(panels))

    def settle(self) -> tuple[int, Target | None] | None:
        """Return slot and target to select once a wanted panel is drawn; a finding gets its cell only now."""
        if self._wanted is None or self.step is None:
            return None
        panel, target = self._wanted
        number = self.layout.slot_of(panel)
        if number is not None and self.layout.slots[number].shown != panel:
            return None  # its lines are being drawn
        self._wanted = None
        if number is None:
            return None
        if isinstance(target, FindingTarget) and panel != "findings":
            target = target_of(self.view.findings[target.number], self.look.applied(self.step))
        return number, target

    def search_ended(self, text: str, hit: Hit | None) -> None:
        """Go to what was found."""
        if hit is None:
            self.notify(f"{text!r} was not found from here on", "warning")
        else:
            self._go_to(hit.row, hit.panel, hit.target)

    def check_ended(self, judged: NoFindings) -> None:
        """Say that no step from here on breaks a rule, and what that makes of the whole run."""
        self.notify(f"a broken rule was not found from here on; {judged.text}", "warning")
        self._version += 1  # panels say it too
        self._draw()

    def findings_listed(self, rows: Sequence[int]) -> None:
        """List the rows that have findings; where there are none, all of them."""
        fresh = not self.only_findings
        self.only_findings = bool(rows)
        self.listed = rows or range(self.num_rows)
        if not rows:
            self.notify("no step of this run has a finding")
        elif fresh and self.row not in rows:
            self._go_to(next((row for row in rows if row > self.row), rows[-1]))
        self._effects.rows = self._effects.status = True

    def strip_read(self, strip: Strip) -> None:
        """Take over what was read of the whole run."""
        self.strip = strip
        self._effects.status = True

    def go_to_row(self, row: int) -> None:
        """Go to a row that was chosen on the strip."""
        self.following = False
        self._go_to(row)

    def proof_went(self) -> None:
        """Show how much of the run is proven."""
        self._effects.status = True

    def distances_counted(self) -> None:
        """Draw the distances of the run again."""
        if self.layout.shows("distance"):
            self._version += 1
            self._draw()

    def run_grew(self) -> None:
        """Take over more of a run, or less of one that turned out to be damaged."""
        before, num_rows = self.order.first_divergence(), self.num_rows
        self._take_run()
        first = self.order.first_divergence()
        if self.following and before is None and first is not None:
            self.following = False
            self.notify("a first divergence was found; following is paused, F resumes it", "warning")
            self._go_to_finding(first)
        elif self.following:
            self._show_last()
        elif self.num_rows < num_rows and self.arrived and self.step is not None:
            self._jobs.locate(self.step.moment)  # its row may be another one now
        else:
            self._draw()

    def locate(self, moment: Moment) -> None:
        """Go to a moment, and to the finding that is at it."""
        panel, target = panel_of_stage(moment.stage), None if moment.node is None else NodeTarget(moment.node)
        found: Target | None = target
        for number, finding in enumerate(self.view.findings):
            if finding.moment == moment:
                panel, found = panel_for(finding.column), FindingTarget(moment, number)
                break
        self._jobs.locate(moment, panel, found)

    def notify(self, text: str, severity: Severity = "information", seconds: float | None = None) -> None:
        """Pop up a message."""
        self._effects.notifications.append(Notification(text, severity, seconds))

    def _go_to(
        self, row: int, panel: str = "", target: Target | None = None, *, remember: bool = True
    ) -> None:
        """Show a row, and in it a panel with something selected."""
        if remember:
            self._history.leave(self._here())
        if row != self.row and not isinstance(target, FindingTarget):
            self.found_number = None
        self.row, self.arrived, self._looked_at = max(0, row), False, None
        self._effects.scroll = True
        if panel:
            self._open(panel)
        self._wanted = (panel, target) if panel else None
        self._draw()

    def _go_to_finding(self, number: int) -> None:
        """Show what a finding points to."""
        finding = self.view.findings[number]
        self.found_number = number
        target = FindingTarget(finding.moment, number)
        self._jobs.locate(finding.moment, panel_for(finding.column), target)

    def _show_last(self) -> None:
        """Show the newest finished step; the one that is running has little to show yet."""
        self._go_to((self.view.num_finished or self.num_rows) - 1, remember=False)

    def _here(self) -> Location:
        moment = str(self.step.moment) if self.step is not None and self.arrived else ""
        return Location(self.row, self.layout.active_slot.panel, self.target, moment)

    def _open(self, panel: str) -> None:
        """Make a panel the active one, and give it the focus."""
        self.layout.open(panel)
        self._effects.focus = True

    def _draw(self) -> None:
        """Have the step read, and its panels drawn that are not drawn of it yet."""
        if not self._has_size:
            return
        if any(slot.panel == "distance" for slot in self.layout.room):
            self._jobs.count_distances()
        sight = Sight(self.row, self.look, self._version)
        self._jobs.step(sight, self.layout.stale(sight))

    def _take_run(self) -> None:
        """Take over the number of steps and the findings."""
        self._version += 1
        self.order = FindingOrder(self.view.findings)
        self._take_rows()

    def _take_rows(self) -> None:
        self.num_rows = self.view.num_rows
        if self.only_findings:
            self._jobs.list_findings()
        else:
            self.listed = range(self.num_rows)
        self._effects.rows = self._effects.status = True
