"""Lengths that attention was given, ends of requests' blocks, padding of launches, the drafter's slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from invariants.launches.view import LaunchView, RowInLaunch
from invariants.rule import NotApplicableError, Violation, Violations, invariant, listed

READ_EXACTLY: Final = ("npu_fused_infer_attention_score",)
"""Operators that attend to exactly as many keys as the host's length says."""


@invariant("REQ010", stage="verify", reads=("committed_len", "query_len", "kv_len"))
def length_is_not_rows_before_plus_query(launched: LaunchView) -> Violations:
    """A request's KV length on the device is not its rows before plus its query rows.

    ## What it does
    Checks `kv_len == committed_len + query_len` for steps and for rows of prefill and recompute.

    ## Why it matters
    One short, and a row does not see its own predecessor; one long, and it attends to a stale row. Text
    stays fluent, acceptance falls.

    ## Example
    40 rows are committed, 6 are queried, and the length is 45.

    ## Seen in
    vllm-project/vllm-ascend (lengths of the step before in a captured graph), lengths not corrected after a
    rejection.

    ## Limits
    Rows whose results are thrown away are left out, and requests that are spread over ranks: the length on a
    rank is its own share.
    """
    launched.require_whole()
    looked = False
    for each in launched.having("committed_len", "query_len", "kv_len"):
        row = each.row
        start, size, length = row.number("committed_len"), row.number("query_len"), row.number("kv_len")
        if row.kind == "withdrawn" or start is None or size is None:
            continue
        looked = True
        if length != start + size:
            message = (
                f"{_launch(launched)}{row.text} attends to {length} rows, should be {start} rows before "
            )
            message += f"and {size} of its own"
            yield Violation(message, "kv_len", found=length, expected=start + size, place=row.place)
    if not looked:
        raise NotApplicableError("all rows of the launch are withdrawn")


@invariant("REQ011", stage="verify", reads=("kv_len", "kv_len_host"))
def host_length_off(launched: LaunchView) -> Violations:
    """The length that the operator was given from the host is not one that it may be given.

    ## What it does
    Where the operator reads the host's length exactly, checks `kv_len_host == kv_len`; elsewhere the host's
    may be an upper bound: `kv_len_host >= kv_len`. Which is which stands in the manifest
    (`model_facts.host_lengths`, by a word of `kernel`); the fused infer attention of Ascend reads it exactly.

    ## Why it matters
    Hosts that run ahead suppose that every draft is accepted. An operator that reads such a length exactly
    attends to rejected rows, and a frozen one of a graph to too few.

    ## Example
    Two drafts were rejected; the device has 46 rows and the operator is given 48.

    ## Seen in
    vllm-project/vllm-ascend (optimistic lengths under asynchronous scheduling, stale lengths of a graph).

    ## Limits
    A kernel that the manifest does not name is taken to use a bound.
    """
    facts = launched.model_facts
    stated: Mapping[str, str] = {} if facts is None else facts.host_lengths
    for each in launched.having("kv_len", "kv_len_host"):
        length, host = each.row.number("kv_len") or 0, each.row.number("kv_len_host") or 0
        kernel = str(each.row.row.get("kernel") or "")
        exact = _is_exact(kernel, stated)
        if host < length or (exact and host != length):
            law = "reads it exactly" if exact else "needs at least that"
            message = (
                f"{_launch(launched)}{each.row.text}: the operator was given length {host} by the host, "
            )
            message += f"the device has {length} rows, and the operator {law}"
            yield Violation(message, "kv_len_host", found=host, expected=length, place=each.row.place)


def _is_exact(kernel: str, stated: Mapping[str, str]) -> bool:
    named = [how for word, how in stated.items() if word and word in kernel]
    if named:
        return named[0] == "exact"
    if any(word in kernel for word in READ_EXACTLY):
        return True
    return stated.get("") == "exact"


@invariant("REQ012", stage="verify", reads=("block_ids", "kv_len"))
def length_beyond_its_blocks(launched: LaunchView) -> Violations:
    """A request attends to more rows than its blocks hold.

    ## What it does
    Checks that `kv_len` is not above the tokens of the blocks that the scheduler gave, in every KV group.

    ## Why it matters
    The kernel reads table entries that are stale or another request's.

    ## Example
    Two blocks of 32, and a length of 65.

    ## Seen in
    Block tables that are overrun at a block's border by lookahead tokens.

    ## Limits
    A request whose beginning was not seen has no known blocks. Requests that are spread over ranks are left
    out.
    """
    launched.require_whole()
    looked = False
    for each in launched.having("kv_len"):
        if each.life.tables is None:
            continue
        for group, table in enumerate(each.life.tables):
            looked, size = True, launched.size(group)
            length = each.row.number("kv_len") or 0
            if length > len(table) * size:
                message = (
                    f"{_launch(launched)}{each.row.text} attends to {length} rows, its {len(table)} blocks "
                )
                message += f"of KV group {group} hold {len(table) * size}"
                yield Violation(
                    message, "kv_len", found=length, expected=len(table) * size, place=each.row.place
                )
                break
    if not looked:
        raise NotApplicableError("no request whose blocks are known from its beginning")


@invariant("REQ013", stage="tensorize", reads=("launch", "num_tokens_padded"))
def launch_padding_not_inert(launched: LaunchView) -> Violations:
    """Padding of a launch is written into a block, or the launch has more rows than it was padded to.

    ## What it does
    Rows that belong to no request (`withdrawn`, without `request_id`) must have slot -1 or one of the null
    block. Query rows and requests of a launch must fit into `num_tokens_padded` and `num_reqs_padded`.

    ## Why it matters
    Graphs are captured for padded sizes. A padding row with a stale slot writes over a live request, and a
    request beyond the padded number is not computed at all.

    ## Example
    A launch of 5 tokens is padded to 8, and the sixth row is written to slot 0.

    ## Seen in
    vllm-project/vllm-ascend#15867, vllm-project/vllm#43810.

    ## Limits
    Padding rows have to be recorded as a row of their own.
    """
    for row in launched.padding:
        for group, written in launched.groups_of(row.slots) if row.slots is not None else ():
            null = launched.null_block(group)
            stray = [one for one in written.tolist() if null is None or one // launched.size(group) != null]
            if stray:
                message = f"{_launch(launched)}padding rows are written to slots {listed(stray)} of KV group "
                yield Violation(f"{message}{group}", "slots", found=stray[0], expected=-1, place=row.place)
    by_memory: dict[object, list[RowInLaunch]] = {}
    for each in launched.rows:
        by_memory.setdefault(each.row.memory, []).append(each)
    for rows in by_memory.values():
        sizes = [each.row.number("query_len") for each in rows]
        counts = {
            "num_tokens_padded": None if None in sizes else sum(filter(None, sizes)),
            "num_reqs_padded": len({each.row.request for each in rows}),
        }
        for name, count in counts.items():
            room = rows[0].row.number(name)
            if room is not None and count is not None and count > room:
                message = f"{_launch(launched)}{name} is {room}, the recorded requests need {count}"
                yield Violation(message, name, found=room, expected=count, place=rows[0].row.place)


@invariant("REQ014", stage="draft", reads=("block_ids", "draft_slots"))
def draft_slot_outside_its_blocks(launched: LaunchView) -> Violations:
    """The drafter of a request writes outside the request's blocks, or at a place that is not its position's.

    ## What it does
    Each slot of the drafter's rows lies in one of the request's blocks. Where `draft_position_ids` are
    recorded, slot and position differ by the same number on all rows.

    ## Why it matters
    The drafter's keys land in another request's blocks, or the drafter attends to rows of other tokens: the
    target model corrects the text, and acceptance falls.

    ## Example
    The request holds blocks 4 and 9, and the third draft is written to block 5.

    ## Seen in
    sgl-project/sglang#30578 (draft slots past a request's last block).

    ## Limits
    Slots below 0 and positions of 0 are past a limit and left out, and so are requests that are spread over
    ranks.
    """
    launched.require_whole()
    looked = False
    for each in launched.having("draft_slots"):
        if each.life.tables is None:
            continue
        looked = True
        yield from _stray_drafts(launched, each)
    if not looked:
        raise NotApplicableError("no request whose blocks are known from its beginning")


def _stray_drafts(launched: LaunchView, each: RowInLaunch) -> Violations:
    slots, positions = each.row.array("draft_slots"), each.row.array("draft_position_ids")
    assert each.life.tables is not None
    per_group = [
        {int(block): number for number, block in enumerate(table.tolist())} for table in each.life.tables
    ]
    listing = [] if slots is None else slots.tolist()
    group = next(
        (g for g in range(len(per_group)) if _all_inside(listing, per_group[g], launched.size(g))), None
    )
    if group is None:
        size = launched.size(0)
        row = next(i for i, slot in enumerate(listing) if slot >= 0 and slot // size not in per_group[0])
        message = f"{_launch(launched)}{each.row.text}: row {row} of the drafter is written to slot "
        message += f"{listing[row]}, which is in none of the request's blocks"
        yield Violation(message, "draft_slots", row, found=listing[row], place=each.row.place)
        return
    if positions is None or len(positions) != len(listing):
        return
    size, where = launched.size(group), per_group[group]
    places = [
        (row, where[slot // size] * size + slot % size - int(position))
        for row, (slot, position) in enumerate(zip(listing, positions.tolist(), strict=True))
        if slot >= 0 and position > 0
    ]
    wrong = next((row for row, shift in places if shift != places[0][1]), None)
    if wrong is not None:
        message = f"{_launch(launched)}{each.row.text}: row {wrong} of the drafter at position "
        message += f"{positions[wrong]} is written to slot {listing[wrong]}, out of step with the row before"
        yield Violation(message, "draft_slots", wrong, found=listing[wrong], place=each.row.place)


def _all_inside(slots: Sequence[int], blocks: Mapping[int, int], size: int) -> bool:
    return all(slot < 0 or slot // size in blocks for slot in slots)


def _launch(launched: LaunchView) -> str:
    return "" if launched.number is None else f"launch {launched.number}: "
