"""The table of causes as a page: shares by port and by family, then every mistake whose place was missed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from causes.measure import Seen

DTYPES: Final = ("float32", "bfloat16")
COLUMNS: Final = ("noticed", "stage", "node", "path")

ABOUT: Final = """\
Written by `make cause-table`. Single mistakes are planted in three ports that share no code: the fused path
(the catalogue of faults), the partial port and the level port of the examples. Beside each faulty path runs
the same path without the mistake, on the same values; the first thing that differs is where the mistake is.

*Noticed* is any finding, of all mistakes that changed something. *Stage*, *node* and *path* are what the
first line names, of those noticed: step and stage; that and the node, or the position, or that there is no
single one; the side at fault."""
"""What the page begins with."""

HELD_OUT: Final = """\
## Held out

These mistakes were written after the order of findings and its explanations, which had never been tried on
them. *First* is what was measured then, before anything was mended; *now* is the same after what they showed
was mended, by kind. One of the nodes that are right now was right before: lists of tokens of unlike length
are compared up to where they part. Shares above are of mistakes that the order was mended with."""
FIRST: Final = ((116, 112, 111, 111, 104, 111), (116, 107, 101, 100, 90, 101))
"""Of the first measurement by dtype: written, changed something, noticed, right stage, node and path."""


def render(seen: Sequence[Seen]) -> str:
    """Return the page."""
    counted = [each for each in seen if each.changed]
    known = [each for each in counted if not each.held_out]
    lines = [
        "# What the first line says",
        "",
        *ABOUT.splitlines(),
        "",
        *_shares("port", known, lambda each: each.key.split("/")[0]),
        "",
        *_shares("family", known, lambda each: each.family),
        *_held_out([each for each in counted if each.held_out]),
        "",
        f"Not counted, because they changed nothing in their run: {len(seen) - len(counted)}.",
        "",
        "## Missed",
        "",
        "| mistake | dtype | changed first | first line | by |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {' | '.join((each.key, each.dtype, each.expected, each.headline or 'nothing', each.rule))} |"
            for each in counted
            if not (each.noticed and each.node and each.path)
        ),
    ]
    return "\n".join(lines) + "\n"


def _held_out(seen: Sequence[Seen]) -> list[str]:
    """Return the section of what was held out; nothing where none of it was measured."""
    if not seen:
        return []
    header, *_, now = _shares("port", seen, lambda each: each.key.split("/")[0])
    first = []
    for _, changed, noticed, *named in FIRST:
        first += [str(changed), _share(noticed, changed), *(_share(each, noticed) for each in named)]
    return [
        "",
        *HELD_OUT.splitlines(),
        "",
        header.replace("| port |", "| |", 1),
        "|" + " --- |" * (header.count("|") - 1),
        f"| first | {' | '.join(first)} |",
        now.replace("| all |", "| now |", 1),
        "",
        *_shares("port", seen, lambda each: each.key.split("/")[0])[:-1],
        "",
        *_shares("family", seen, lambda each: each.family)[:-1],
    ]


def _shares(name: str, seen: Sequence[Seen], group_of: Callable[[Seen], str]) -> list[str]:
    header = [f"{dtype} {column}" for dtype in DTYPES for column in ("mistakes", *COLUMNS)]
    rows = [f"| {name} | {' | '.join(header)} |", "|" + " --- |" * (len(header) + 1)]
    groups = sorted({group_of(each) for each in seen})
    for group in (*groups, "all"):
        cells = []
        for dtype in DTYPES:
            mine = [each for each in seen if each.dtype == dtype and group in {group_of(each), "all"}]
            cells += [str(len(mine)), *share_cells(mine)]
        rows.append(f"| {group} | {' | '.join(cells)} |")
    return rows


def share_cells(seen: Sequence[Seen]) -> list[str]:
    """Return the share noticed, then of those the shares of right stage, node and path."""
    noticed = [each for each in seen if each.noticed]
    return [
        _share(len(noticed), len(seen)),
        *(_share(sum(getattr(each, name) for each in noticed), len(noticed)) for name in COLUMNS[1:]),
    ]


def share(seen: Iterable[Seen], name: str) -> float:
    """Return the share of those noticed of which the first line names the right `name`."""
    values: list[bool] = [getattr(each, name) for each in seen if each.changed and each.noticed]
    return sum(values) / max(len(values), 1)


def _share(count: int, total: int) -> str:
    return f"{count / total:.0%}" if total else ""
