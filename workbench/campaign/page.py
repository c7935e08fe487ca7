"""A merged campaign as one self-contained page, with a map of findings for every two axes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from workbench.bench.report import page_of_studies
from workbench.bench.tables import Plot, Series, Study, Table
from workbench.campaign.merged import Merged
from workbench.campaign.text import as_json, lines_of


def page_of(merged: Merged) -> str:
    """Return the page.

    Raises:
        EnvironmentProblemError: The extra that draws it is not installed.
    """
    studies = [
        Study(name="verdict", title="Verdict", text=tuple(lines_of(merged))),
        Study(name="causes", title="Causes", tables=(_causes(merged),)),
        Study(name="axes", title="Findings over the axes", plots=tuple(_maps(merged))),
        Study(name="accepted", title="Accepted drafts", tables=(_accepted(merged),)),
        Study(name="workers", title="Workers", tables=(_workers(merged),)),
    ]
    return page_of_studies(
        studies, {"about": f"verdict {merged.verdict}", **as_json(merged)}, title="specwb campaign"
    )


def _causes(merged: Merged) -> Table:
    rows = tuple(
        (*group.cause, len(group.cases), ", ".join(sorted(group.faults)), group.example["number"])
        for group in sorted(merged.groups.values(), key=lambda each: -len(each.cases))
    )
    head = ("rule", "stage", "column", "blamed", "explanation", "cases", "faults", "smallest case")
    return Table("Findings by cause", head, rows)


def _maps(merged: Merged) -> Iterator[Plot]:
    """Yield a map for every two axes: the share of cases with a finding."""
    axes = {name: values for name, values in merged.plan.axes.items() if len(values) > 1}
    for one, other in itertools.combinations(axes, 2):
        rows = []
        for a in axes[one]:
            shares = []
            for b in axes[other]:
                cases, found = merged.cells.get((one, a, other, b), (0, 0))
                shares.append(found / cases if cases else None)
            rows.append(Series(a or "none", tuple(b or "none" for b in axes[other]), tuple(shares)))
        yield Plot("heat", f"Share of cases with a finding: {one} by {other}", other, one, tuple(rows))


def _accepted(merged: Merged) -> Table:
    rows = tuple(
        (axis, value, accepted / steps, steps)
        for (axis, value), (accepted, steps) in sorted(merged.accepted.items())
        if steps
    )
    return Table(
        "Drafts accepted a step, cases without a fault", ("axis", "value", "accepted", "steps"), rows
    )


def _workers(merged: Merged) -> Table:
    machines = merged.machines
    rows = tuple(
        (name, machines.hosts[name], count, machines.seconds[name], "differs" if name in machines.odd else "")
        for name, count in sorted(machines.cases.items())
    )
    return Table("Who ran what", ("worker", "host", "cases", "seconds", "canaries"), rows)
