"""The batch of a step: requests of its launch, who holds which block, and the life of each as a strip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from tracing.moment import Moment
from workbench.view.counted import counted
from workbench.view.launch_shown import Happening, LaunchShown, RequestOfLaunch, Row
from workbench.view.lines import Line, Lines, Role, Span, note, wrapped
from workbench.view.panel import Panel
from workbench.view.safe_text import safe_text
from workbench.view.step import StepView, ViewOptions
from workbench.view.targets import MomentTarget, Target
from workbench.view.width import cell_width

NAME: Final = 18
"""Cells of a request's name."""
KIND, SHORT_KIND = len("prefill_chunk"), len("preempted")
FULL: Final = 66
"""Cells of a line of the table with every column."""
SIGNS: Final = {"prefill_chunk": "p", "recompute": "r", "preempted": "x", "withdrawn": "w"}
MANY: Final = "+"
"""More accepted nodes than a digit says."""


def batch_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the launch that a step belongs to."""
    shown = step.batch()
    if shown is None:
        return [note("this step belongs to no recorded launch of an engine (column launch)")]
    return [
        *_title(shown),
        *_request_table(shown, step.moment, options.width),
        *(note(f"  padding  {counted(_num_rows(row), 'row')}") for row in shown.padding),
        *_block_lines(shown, options),
        *_life_lines(shown, options),
    ]


def _title(shown: LaunchShown) -> Iterator[Line]:
    rank, number = shown.launch
    rows = [row for each in shown.requests for row in each.rows]
    first: Mapping[str, Any] = rows[0] if rows else {}
    facts = []
    for name, what, count in (
        ("num_reqs_padded", "request", len(shown.requests)),
        ("num_tokens_padded", "query row", sum(map(_num_rows, rows))),
    ):
        padded = first.get(name)
        more = f" padded to {padded}" if padded is not None and padded != count else ""
        facts.append(counted(count, what) + more)
    if first.get("graph_mode"):
        facts.append(safe_text(str(first["graph_mode"])))
    of_rank = f" of data-parallel rank {rank}" if rank > 0 else ""
    yield (Span(f"launch {number}{of_rank}", "title"), Span(f"  {', '.join(facts)}"))


def _request_table(shown: LaunchShown, here: Moment, width: int) -> Iterator[Line]:
    """Draw a line per row of the launch; with little room without what the other columns tell too."""
    name = NAME if width >= FULL else _name_width(shown)
    kind = KIND if width >= FULL - NAME + name else SHORT_KIND
    full = width >= FULL - NAME + name - KIND + kind
    batch_row, start = (f" {'row':>3}", f" {'from':>5}") if full else ("", "")
    yield note(f"  {'request':<{name}}{batch_row}  {'kind':<{kind}} {'rows':>4}{start} {'kv':>5}  accepted")
    for each in shown.requests:
        yield from _request_lines(each, here, name, kind, full=full)


def _request_lines(
    request: RequestOfLaunch, here: Moment, name: int, kind_width: int, *, full: bool
) -> Iterator[Line]:
    for row in request.rows:
        moment = Moment(row["prompt_id"], row["turn"], row["step"])
        is_step = row.get("row_kind") is None
        is_here = is_step and moment.place == here.place
        target: Target | None = MomentTarget(moment) if is_step else None
        kind = "step" if is_step else str(row["row_kind"])
        kind = kind if len(kind) <= kind_width else kind.partition("_")[0]
        start = f" {_shown(row.get('committed_len')):>5}" if full else ""
        counts = f"{_num_rows(row):>4}{start} {_shown(row.get('kv_len')):>5}"
        batch_row = f" {_shown(row.get('batch_row')):>3}" if full else ""
        yield (
            Span("> " if is_here else "  ", "accent"),
            Span(f"{_short(request.name):<{name}}", "accent" if is_here else "plain", target),
            Span(f"{batch_row}  {safe_text(kind):<{kind_width}} {counts}  "),
            *_outcome(row),
        )


def _outcome(row: Row) -> Iterator[Span]:
    accepted, host = row.get("accepted_nodes"), row.get("kv_len_host")
    if accepted is not None:
        yield Span(f"{len(accepted)} of {max(_num_rows(row) - 1, 0)}", "good" if len(accepted) else "dim")
    if row.get("stop_reason"):
        yield Span(f" {safe_text(str(row['stop_reason']))}", "warn")
    if host is not None and row.get("kv_len") is not None and host != row["kv_len"]:
        yield Span(f" host {host}", "warn" if host > row["kv_len"] else "bad")
    if row.get("num_cached"):
        yield Span(f" {row['num_cached']} cached", "dim")


def _block_lines(shown: LaunchShown, options: ViewOptions) -> Iterator[Line]:
    """Say of each KV group who holds which block, which are written now, and which are held by several."""
    name = NAME if options.width >= FULL else _name_width(shown)
    for group, size in enumerate(shown.block_sizes):
        null = shown.null_blocks[group] if group < len(shown.null_blocks) else None
        owners, writers = dict[int, list[str]](), dict[int, list[str]]()
        for each in shown.requests:
            for block in _held(each, group, null):
                owners.setdefault(block, []).append(each.name)
            for block in sorted({one for row in each.rows for one in _written(row, group, size)} - {null}):
                writers.setdefault(block, []).append(each.name)
        if not owners:
            continue
        what = f"blocks of KV group {group}" if len(shown.block_sizes) > 1 else "blocks"
        of_size = f" of {size} tokens" if size else ""
        yield note("")
        twice = any(len(names) > 1 for names in writers.values())
        legend = "  * written now, = held by several" + (", ! written by several now" if twice else "")
        yield from wrapped((Span(f"{what}{of_size}", "title"), Span(legend, "dim")), options.width, 2)
        for each in shown.requests:
            own = _held(each, group, null)
            cells = [_cell(block, each.name, owners, writers) for block in own]
            stray = [block for block, names in writers.items() if each.name in names and block not in own]
            cells += [(f"{block}* not its own", "bad") for block in stray]
            yield from _cell_lines(f"  {_short(each.name):<{name}} ", cells, options.width)
        for block, names in owners.items():
            if len(names) > 1:
                yield note(f"  block {block}: {', '.join(map(_short, names))}")


def _held(request: RequestOfLaunch, group: int, null: int | None) -> list[int]:
    """Return the blocks that a request holds in a group, in the order of its tokens."""
    blocks = request.blocks[group] if group < len(request.blocks) else ()
    return [block for block in blocks if block != null]


def _cell(
    block: int, name: str, owners: Mapping[int, list[str]], writers: Mapping[int, list[str]]
) -> tuple[str, Role]:
    """Return a block with its signs; one that two requests write is wrong."""
    is_shared, by = len(owners[block]) > 1, writers.get(block, [])
    sign = ("*" if name in by else "") + ("=" if is_shared else "")
    role: Role = "warn" if is_shared else "accent" if sign else "plain"
    return (f"{block}{sign}!", "bad") if name in by and len(by) > 1 else (f"{block}{sign}", role)


def _cell_lines(stem: str, cells: Sequence[tuple[str, Role]], width: int) -> Iterator[Line]:
    line, used = [Span(stem)], cell_width(stem)
    for text, role in cells:
        if used + cell_width(text) + 1 > max(width, 2 * NAME) and len(line) > 1:
            yield tuple(line)
            line, used = [Span(" " * cell_width(stem))], cell_width(stem)
        line.append(Span(f"{text} ", role))
        used += cell_width(text) + 1
    yield tuple(line)


def _written(row: Row, group: int, size: int) -> Iterator[int]:
    slots = row.get("slots") if group == 0 else None
    every = row.get("group_slots")
    if every is not None and np.ndim(every) == 2 and group < len(every):
        slots = every[group]
    if slots is None or not size or row.get("row_kind") == "preempted":
        return
    values = np.ma.filled(slots, -1).astype(np.int64)
    yield from np.unique(values[values >= 0] // size).tolist()


def _life_lines(shown: LaunchShown, options: ViewOptions) -> Iterator[Line]:
    """Draw the life of each request as a strip over launches, this one in the middle where there are many."""
    lives = [each for each in shown.requests if each.life]
    if not lives:
        return
    name = NAME if options.width >= FULL else _name_width(shown)
    number, room = shown.launch[1], max(8, options.width - name - 4)
    first = min(each.life[0].launch for each in lives)
    last = max(each.life[-1].launch for each in lives)
    start = min(max(first, number - room // 2), max(first, last - room + 1))
    stop = min(start + room, last + 1)
    yield note("")
    yield (Span("lives", "title"), Span(f"  launches {start} to {stop - 1}", "dim"))
    for each in lives:
        cells: dict[int, str] = {}
        for one in each.life:
            cells[one.launch] = _sign(one, cells.get(one.launch, ""))
        end = each.life[-1].launch
        line = [Span(f"  {_short(each.name):<{name}} ")]
        for launch in range(start, stop):
            known = each.life[0].launch <= launch <= end
            text = cells.get(launch, "·" if known else " ")
            line.append(Span(text, "title" if launch == number else "plain" if launch in cells else "dim"))
        yield tuple(line)


def _sign(one: Happening, before: str) -> str:
    """Return the sign of a row; of two rows in one launch, a step says more than the context before it."""
    if one.kind:
        return before if before and one.kind != "preempted" else SIGNS.get(one.kind, "?")
    if one.is_last:
        return "$"
    if one.accepted is None:
        return "?"
    return str(one.accepted) if one.accepted < 10 else MANY


def _name_width(shown: LaunchShown) -> int:
    """Return the cells that the names of the launch take."""
    return max([len("request"), *(cell_width(_short(each.name)) for each in shown.requests)])


def _num_rows(row: Row) -> int:
    if row.get("query_len") is not None:
        return int(row["query_len"])
    tokens = row.get("token_ids")
    return 0 if tokens is None else len(tokens)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _short(name: str) -> str:
    text = safe_text(name)
    return text if len(text) <= NAME else f"{text[: NAME - 9]}…{text[-8:]}"


PANEL: Final = Panel(
    "batch",
    "r",
    "requests of the step's launch, who holds which block, their lives",
    batch_lines,
    columns=frozenset(
        {
            *("launch", "request_id", "block_ids", "table_block_ids", "block_copies", "num_cached"),
            *("kv_len", "kv_len_host", "query_len", "num_tokens_padded", "num_reqs_padded"),
        }
    ),
    legend=(
        ("p r", "chunk of a prompt, context computed again"),
        ("0 3 +", "a step and how many drafts it accepted"),
        ("x w ·", "preempted, thrown away, not in the launch"),
        ("$", "the request's last step"),
        ("* = !", "a block that is written in this launch, held by several requests, written by several"),
    ),
    point=lambda _finding, _step: None,
    shown_for=lambda step: step.left.get("launch") is not None,
)
