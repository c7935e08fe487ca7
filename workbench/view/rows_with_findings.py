"""Rows of the time line that have findings, to list them alone and to mark them over the whole run."""

from __future__ import annotations

from tracing.errors import TraceError
from tracing.moment import Moment
from tracing.stream_reader import DisprovedError
from workbench.view.run_view import RunView


def rows_with_findings(view: RunView) -> list[int]:
    """Return the rows that have findings, in their order; a finding at a step that is not there has none.

    Raises:
        DisprovedError: A batch is not what was written; rows are numbered anew after `refresh`.
    """
    rows: set[int] = set()
    for place in {finding.moment.place for finding in view.findings}:
        try:
            rows.add(view.row_of(Moment(*place)))
        except DisprovedError:
            raise
        except TraceError:
            continue
    return sorted(rows)
