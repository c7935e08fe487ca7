"""What the keys of the run screen do, without a terminal.

A screen calls the methods, does what `take_effects` gives, and paints.
"""

from __future__ import annotations

import bisect
from dataclasses import replace

from tracing.errors import UsageError
from tracing.moment import Moment
from workbench.view.history import Location
from workbench.view.panels import PANEL_BY_NAME, panel_for
from workbench.view.run_state import RunState
from workbench.view.safe_text import safe_text
from workbench.view.source_frames import place_to_edit
from workbench.view.step import Look
from workbench.view.targets import (
    CellTarget,
    FindingTarget,
    MomentTarget,
    NodeTarget,
    PositionTarget,
    SlotTarget,
    SourceTarget,
    Target,
    node_of,
    text_of,
)


class RunModel(RunState):
    """The run screen: what it shows, and one method for each key of the run."""

    def move(self, unit: str, direction: int) -> None:
        """Move by a step, turn or prompt."""
        self.following, self.found_number = False, None
        if unit == "step":
            self._go_to(self._listed_next(direction), remember=False)
        else:
            self._jobs.move(self.row, unit, direction)

    def finding(self, direction: int) -> None:
        """Go to the next or previous finding."""
        if self.step is None:
            return
        number = self.order.next(self.step.moment, self.found_number, direction)
        if number is None:
            self.notify(f"no finding {'after' if direction > 0 else 'before'} this step", "warning")
        else:
            self._go_to_finding(number)

    def first_finding(self) -> None:
        """Go to the first divergence."""
        number = self.order.first_divergence()
        if number is None:
            self.notify(self.view.judged().text)
        else:
            self._go_to_finding(number)

    def check(self) -> None:
        """Look for the next step that breaks a rule; on the first step, that step included."""
        self.following = False
        self.notify("checking from here on", seconds=2)
        self._jobs.check(-1 if self.row == 0 and self.found_number is None else self.row)

    def panel(self, name: str) -> None:
        """Open a panel, on the finding that was gone to where it shows that, else on what is selected."""
        node = node_of(self.target)
        node = node_of(self.linked) if node is None else node
        target: Target | None = None if node is None else NodeTarget(node)
        if self.found_number is not None:
            finding = self.view.findings[self.found_number]
            if panel_for(finding.column) == name:
                target = FindingTarget(finding.moment, self.found_number)
        stays = self.layout.active_slot.shown == name
        self._open(name)
        self._wanted = None if stays else (name, target)
        self._draw()

    def locate_text(self, text: str) -> None:
        """Go to a moment that was typed."""
        try:
            self.locate(Moment.parse(text))
        except UsageError as problem:
            self.notify(safe_text(str(problem)), "error")

    def find(self, text: str) -> None:
        """Search from here on."""
        self._find(text, 1, node_of(self.target))

    def find_again(self, direction: int) -> None:
        """Find the next one, or the one before."""
        self._find(self.query, direction, node_of(self.target))

    def kin(self, node: int | None) -> frozenset[int]:
        """Return the ancestors of a node of the step as it is looked at."""
        return frozenset() if self.step is None else self.look.applied(self.step).ancestors(node)

    def jumps(self) -> list[Location]:
        """Return where the user has been, the latest first."""
        return self._history.places()

    def follow_target(self, target: Target) -> None:
        """Go where a value leads: a finding to its cell, a node to its position, a position to its writer."""
        match target:
            case FindingTarget():
                self._go_to_finding(target.number)
            case CellTarget(query, _):
                self._go_to(self.row, "tree", NodeTarget(query))
            case NodeTarget(node):
                places = self._cache_positions()
                position = places[node] if node < len(places) else None
                if self.layout.active_slot.shown == "cache" or position is None:
                    self._go_to(self.row, "tree", target)
                else:
                    self._go_to(self.row, "cache", PositionTarget(position))
            case PositionTarget(position):
                places = self._cache_positions()
                if position in places:
                    self._go_to(self.row, "tree", NodeTarget(places.index(position)))
                else:
                    self.notify(f"no node of this step has position {position}")
            case MomentTarget(moment):
                self.locate(moment)
            case SourceTarget():
                self._effects.edit = target
            case SlotTarget(slot):
                self._find(f"slot {slot}", -1, None)

    def only_findings_or_all(self) -> None:
        """List only the steps with findings, or all steps again."""
        if self.only_findings:
            self.only_findings = False
            self._take_rows()
        else:
            self._jobs.list_findings()

    def jump(self, place: Location) -> None:
        """Go to a place of the list of those that the user was at."""
        self._go_to(place.row, place.panel, place.target)

    def back(self) -> None:
        """Go back to where the user was."""
        self._return_to(self._history.back(self._here()), "nothing further back")

    def forward(self) -> None:
        """Go forward again."""
        self._return_to(self._history.forward(self._here()), "nothing further forward")

    def swap(self) -> None:
        """Exchange the sides."""
        self._look_anew(replace(self.look, swapped=not self.look.swapped))

    def one_side(self) -> None:
        """Show one side or both."""
        self._look_anew(replace(self.look, one_side=not self.look.one_side))

    def differences(self) -> None:
        """Show everything, or only what differs."""
        options = self.look.options
        options = replace(options, differences_only=not options.differences_only)
        self._look_anew(replace(self.look, options=options))

    def zoom(self) -> None:
        """Make the active panel as large as the screen, or small again."""
        self.layout.zoomed = not self.layout.zoomed
        self._effects.focus = True
        self._draw()

    def copy_moment(self) -> None:
        """Copy the moment, to paste in an issue."""
        if self.step is not None:
            stage = PANEL_BY_NAME[self.layout.active_slot.shown].stage
            moment = self.step.moment
            self._copy(str(replace(moment, stage=stage, node=node_of(self.target)) if stage else moment))

    def copy_value(self) -> None:
        """Copy what the cursor is on."""
        if self.target is None:
            self.notify("there is no value under the cursor to copy")
        else:
            self._copy(text_of(self.target))

    def edit(self) -> None:
        """Open the line of code under the cursor in the user's editor, or the one that the finding names."""
        number = self.found_number
        gone_to = None if number is None else FindingTarget(self.view.findings[number].moment, number)
        self._effects.edit = place_to_edit(self.step, self.view.findings, self.target, gone_to)
        if self._effects.edit is None:
            self.notify("no finding here names a line of code; those of code that raised or hung do")

    def follow_run(self) -> None:
        """Follow the run or pause."""
        if not self.live:
            self.notify("start with --follow to show each new step of a run that is being written")
            return
        self.following = not self.following
        if self.following:
            self._show_last()
        self._effects.status = True

    def next_path(self) -> None:
        """Show the next path first, at the same step."""
        if not self.view.show_next_path():
            self.notify("this run has no other path")
            return
        self._version += 1
        self._take_rows()
        if self.step is not None:
            self._jobs.locate(self.step.moment)
        self._draw()

    def _listed_next(self, steps: int) -> int:
        """Return the row that is so many listed ones after the shown one, or the first or last listed."""
        rows = self.listed
        place = (
            bisect.bisect_right(rows, self.row) - 1 if steps > 0 else bisect.bisect_left(rows, self.row)
        ) + steps
        return rows[min(max(place, 0), len(rows) - 1)] if rows else 0

    def _look_anew(self, look: Look) -> None:
        """Look in another way at the same thing: what is under the cursor, or was when it was last there."""
        self._looked_at = self.target or self._looked_at
        self.look, self._wanted = look, (self.layout.active_slot.panel, self._looked_at)
        self._draw()

    def _find(self, text: str, direction: int, node: int | None) -> None:
        """Search from here on, or from a node of this step."""
        self.query = text
        self._jobs.find(text, self.row, node, direction)

    def _return_to(self, location: Location | None, otherwise: str) -> None:
        if location is None:
            self.notify(otherwise)
        else:
            self._go_to(location.row, location.panel, location.target, remember=False)

    def _copy(self, text: str) -> None:
        self._effects.clipboard = text
        self.notify(f"copied {text}", seconds=2)

    def _cache_positions(self) -> list[int | None]:
        """Return the cache position of each node of the step, empty where not recorded."""
        return (self.step.left.values("cache_positions") if self.step is not None else None) or []
