"""Places in source code that a finding names, one for each frame of the code under test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tracing.finding import Finding
from workbench.view.lines import Line, Span
from workbench.view.step import StepView
from workbench.view.targets import FindingTarget, SourceTarget, Target

_FRAME: Final = re.compile(
    r"(?P<file>[^\x00]+?):(?P<line>\d{1,9}) in (?P<function>[^:]+)(?:: (?P<code>.*))?", re.DOTALL
)


def place_of(frame: str) -> SourceTarget | None:
    """Return the place of a frame, `file:line in function: code`; None for any other text."""
    found = _FRAME.fullmatch(frame)
    return None if found is None else SourceTarget(found["file"], int(found["line"]))


def frame_lines(finding: Finding, stem: int) -> list[Line]:
    """Draw the frames of a finding as they were called, the innermost last, each with its line of code."""
    lines: list[Line] = []
    for number, frame in enumerate(finding.frames):
        name = "in" if number == len(finding.frames) - 1 else "from"
        found = _FRAME.fullmatch(frame)
        head = Span(f"    {name:<{stem - 4}}", "dim")
        if found is None:
            lines.append((head, Span(frame)))
            continue
        place = SourceTarget(found["file"], int(found["line"]))
        lines.append(
            (head, Span(f"{place.file}:{place.line}", "accent", place), Span(f" {found['function']}"))
        )
        if found["code"]:
            lines.append((Span(" " * (stem + 2)), Span(found["code"], "bad" if name == "in" else "plain")))
    return lines


def place_to_edit(
    step: StepView | None, findings: Sequence[Finding], *choices: Target | None
) -> SourceTarget | None:
    """Return the place in source code that the user means.

    Args:
        step: The step that is shown.
        findings: Those of the run.
        choices: What the cursor is on, and the finding that was gone to, in this order.
    """
    for choice in choices:
        if isinstance(choice, SourceTarget):
            return choice
        if isinstance(choice, FindingTarget) and choice.number < len(findings):
            found = innermost(findings[choice.number])
            if found is not None:
                return found
    here = (each for _, each in step.findings) if step is not None else iter(())
    return next((place for place in map(innermost, here) if place is not None), None)


def innermost(finding: Finding) -> SourceTarget | None:
    """Return the place where a finding came about, None where it names none."""
    return place_of(finding.frames[-1]) if finding.frames else None
