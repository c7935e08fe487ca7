"""The next step that breaks a rule, judged now: for runs that were recorded and never judged."""

from __future__ import annotations

from collections.abc import Callable

from invariants.batched import BatchChecker
from invariants.outcome import Violated
from invariants.selection import Selection
from tracing.finding import has_error
from workbench.judge import fed
from workbench.judge.recorded.blocks import Block
from workbench.judge.recorded.check import check_run
from workbench.judge.recorded.context import context_of_path
from workbench.judge.recorded.flat import flat_columns
from workbench.view.condition import NoFindings
from workbench.view.run_view import RunView
from workbench.view.safe_text import safe_text

CHUNK = 256


def check_onwards(view: RunView, row: int, go_on: Callable[[int], bool]) -> tuple[int, int] | None:
    """Look for the next row whose first side breaks a rule, and add all that is wrong there to the findings.

    Args:
        view: The run.
        row: Where to start; -1 for the beginning. The row itself does not count, the rules over neighbouring
            steps see it.
        go_on: Asked with the row before each stretch; False gives up.

    Returns:
        Row and number of the finding to go to, of the earliest stage; None where every step from there on
        holds.

    Raises:
        TraceError: The limits that the run's manifest states are impossible, or a batch cannot be read.
    """
    run, path = view.left
    left_out = tuple(fed.recorded()) if fed.is_fed(run, path) else ()
    checker = BatchChecker(context_of_path(run, path), Selection(ignore=left_out))
    for start in range(max(0, row), view.num_finished, CHUNK):
        if not go_on(start):
            return None
        block = Block(view.whole_batches(start, min(start + CHUNK, view.num_finished)))
        for number, outcomes in checker.batch(path, flat_columns(block.table), block.row):
            found = [finding for each in outcomes if isinstance(each, Violated) for finding in each.findings]
            if start + number > row and has_error(found):
                errors = [finding for finding in found if finding.severity == "error"]
                first = min(errors, key=lambda finding: finding.moment.stage_number)
                return start + number, view.add_findings(found)[found.index(first)]
    return None


def check_whole(view: RunView) -> NoFindings:
    """Return what `specwb check` says of the whole run, and have the view state it from now on.

    Raises:
        TraceError: The run cannot be opened, or its manifest states what cannot be.
    """
    checked = check_run(view.folder, max_per_rule=1)
    text = f"check of the whole run: {checked.verdict} ({checked.remark})"
    judged = NoFindings(safe_text(text), is_good=checked.verdict == "ok")
    view.set_checked(judged)
    return judged
