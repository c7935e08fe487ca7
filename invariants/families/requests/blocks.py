"""Shared blocks: one writer a slot, nothing written over another request's rows, no foreign rows read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from invariants.launches.view import LaunchView, RowInLaunch
from invariants.rule import NotApplicableError, Violation, Violations, invariant

OF_LAUNCH = ("launch", "request_id")


@invariant("REQ001", stage="tensorize", reads=(*OF_LAUNCH, "slots"))
def slot_of_two_requests(launched: LaunchView) -> Violations:
    """Two requests write into the same slot in one launch.

    ## What it does
    Gathers the slots of all rows of a launch, padding of a step included, by rank and KV group; a slot that
    rows of two requests are written to is reported. Negative slots and the null block are left out.

    ## Why it matters
    The order of two writes of one launch is not defined: one request attends to the other's keys, and which
    one, changes from run to run.

    ## Example
    Requests `a` and `b` are both written to slot 96 in launch 12.

    ## Seen in
    vllm-project/vllm-ascend#8435 (two slot maps in one buffer), vllm-project/vllm#43810.

    ## Limits
    Ranks have memories of their own. Requests are those that were recorded.
    """
    owners: dict[tuple[object, int, int], RowInLaunch] = {}
    for each in launched.having("slots"):
        for slot, group in _slots(launched, each):
            other = owners.setdefault((each.row.memory, group, slot), each)
            if other.row.request != each.row.request:
                message = f"launch {launched.number}: {each.row.text} is written to slot {slot}"
                message += f" of KV group {group}, and so is {other.row.text}"
                yield Violation(message, "slots", found=slot, expected=other.row.text, place=each.row.place)
                break


def _slots(launched: LaunchView, each: RowInLaunch) -> Iterator[tuple[int, int]]:
    every = each.row.slots
    for group in range(0 if every is None else len(every)):
        assert every is not None
        written = np.concatenate([every[group], each.row.pad_slots[min(group, len(each.row.pad_slots) - 1)]])
        size = launched.sizes[group] if group < len(launched.sizes) else 0
        null = launched.null_block(group)
        for slot in written[written >= 0].tolist():
            if not (size and null is not None and slot // size == null):
                yield slot, group


@invariant("REQ002", stage="tensorize", reads=(*OF_LAUNCH, "block_ids", "slots"))
def block_of_another_read(launched: LaunchView) -> Violations:
    """A request reads a block that another one writes in the same launch, and it is not its own prefix.

    ## What it does
    Looks at each block inside a request's length and its layers' window that the request had not used before
    this launch and that another request writes in it. It is lawful as a full block of the same tokens from
    the beginning on, as requests with equal prompts share when they are admitted in one step. A block whose
    tokens are not known is not judged.

    ## Why it matters
    The request attends to another one's text.

    ## Example
    Request `b` is admitted with block 7, into which request `a` writes its own prompt in the same launch.

    ## Seen in
    vllm-project/vllm (blocks of a prefix cache given out before they are computed), sgl-project/sglang#30578.

    ## Limits
    Blocks that were used before are looked at by REQ003. Requests that are spread over ranks are left out.
    """
    yield from _of_each_group(launched, _foreign_reads)


def _of_each_group(
    launched: LaunchView, law: Callable[[LaunchView, RowInLaunch, int], Violations]
) -> Violations:
    """Apply a law to the blocks of each request in each KV group."""
    launched.require_whole()
    for each in launched.having("block_ids"):
        for group in range(len(launched.sizes)):
            yield from law(launched, each, group)


def _foreign_reads(launched: LaunchView, each: RowInLaunch, group: int) -> Violations:
    size, memory, life = launched.size(group), each.row.memory, each.life
    table = each.blocks_of(group)
    first, stop = launched.span(each, group)
    for logical in range(max(first, -(-life.used // size)), min(stop, len(table))):
        block = int(table[logical])
        writers = launched.written.get((memory, group, block), {})
        others = [one for number, one in writers.items() if number != life.number]
        if not others or block == launched.null_block(group):
            continue
        made, mine = launched.made.get((memory, group, block)), life.tokens.chain(logical, size)
        if made is None or (made.chain is not None and mine in (None, made.chain)):
            continue  # what it holds is not known, or it is the reader's own prefix
        message = f"launch {launched.number}: {each.row.text} reads block {block} of KV group {group}"
        message += f", its tokens from {logical * size} on, and {others[0].row.text} writes into it"
        yield Violation(message, "block_ids", found=block, expected=others[0].row.text, place=each.row.place)
        return


@invariant("REQ003", stage="tensorize", reads=(*OF_LAUNCH, "block_ids", "slots"))
def block_of_a_live_request_overwritten(launched: LaunchView) -> Violations:
    """Another request wrote into a block that this request held and still reads.

    ## What it does
    For each request of a launch, looks at the blocks that it had used before and reads now (its length, its
    layers' window): since its last launch, this one included, nobody else may have written into them. The
    target of a recorded copy is left out.

    ## Why it matters
    Committed keys are replaced by another request's; the text goes wrong long after the cause, and only
    under load.

    ## Example
    Request `a` holds block 3; in launch 9 request `b` is written to slot 100 of it, and `a` reads it in
    launch 10.

    ## Seen in
    vllm-project/vllm-ascend#8435, sgl-project/sglang#30578 (draft slots past a request's last block).

    ## Limits
    Known when the overwritten request comes back; one that never does has lost nothing. A request that was
    preempted begins a new life with other blocks. Requests that are spread over ranks are left out.
    """
    yield from _of_each_group(launched, _lost_blocks)


def _lost_blocks(launched: LaunchView, each: RowInLaunch, group: int) -> Violations:
    size, life, memory = launched.size(group), each.life, each.row.memory
    table, known = each.blocks_of(group), launched.blocks.get((memory, group))
    first, stop = launched.span(each, group)
    used = table[first : min(stop, -(-life.used // size), len(table))]
    copied, null = launched.copied.get((memory, group), ()), launched.null_block(group)
    since = {} if known is None else known.since(used, life.number, life.last_launch)
    for block in used.tolist():
        if block in copied or block == null:
            continue
        now = launched.written.get((memory, group, block), {})
        other = next((one.row.text for number, one in now.items() if number != life.number), "")
        when = launched.number
        if not other and block in since:
            other, when = launched.named(since[block][0]), since[block][1]
        if other:
            message = f"block {block} of KV group {group}, which {each.row.text} holds and reads, "
            message += f"was written by {other} in launch {when}"
            yield Violation(message, "block_ids", found=block, expected=other, place=each.row.place)
            return


@invariant("REQ004", stage="tensorize", reads=("block_ids", "table_block_ids"))
def table_of_other_blocks(launched: LaunchView) -> Violations:
    """The block table that the kernel was given is not that of the scheduler.

    ## What it does
    Compares `table_block_ids` with the blocks that the scheduler gave, block by block, inside the request's
    length and its layers' window. Entries elsewhere are lookahead or stale, and are not judged.

    ## Why it matters
    Keys are read from blocks of another request, or of the request's former life.

    ## Example
    The scheduler gave blocks 4, 9 and the worker's table holds 4, 8.

    ## Seen in
    vllm-project/vllm-ascend#7019, #12000 (tables in another block size), tables not refreshed after a resume.

    ## Limits
    Needs both sources; with one of them this is not checked.
    """
    looked = False
    for each in launched.having("table_block_ids"):
        if each.life.tables is None:
            continue
        worker = each.row.by_group("table_block_ids") or []
        for group, theirs in enumerate(worker):
            looked = True
            yield from _other_blocks(launched, each, group, theirs)
    if not looked:
        raise NotApplicableError("no request whose blocks are known from its beginning")


def _other_blocks(launched: LaunchView, each: RowInLaunch, group: int, theirs: np.ndarray) -> Violations:
    facts, table, size = launched.group(group), each.blocks_of(group), launched.size(group)
    ratio = 1 if facts is None else facts.manager_block_size // facts.kernel_block_size
    first, stop = launched.span(each, group)
    for logical in range(first, min(stop, len(table))):
        kernel = np.arange(logical * ratio, (logical + 1) * ratio)
        kernel = kernel[kernel * (size // ratio) < launched.length(each)]
        if kernel.size and kernel[-1] >= len(theirs):
            message, found = f"its table in the worker ends before token {logical * size}", -1
        else:
            wanted = table[logical] * ratio + np.arange(len(kernel))
            wrong = np.flatnonzero(theirs[kernel] != wanted)
            if not wrong.size:
                continue
            found = int(theirs[kernel[wrong[0]]])
            message = f"the worker's table holds block {found} for its tokens from {logical * size} on, "
            message += f"the scheduler gave {int(table[logical])}"
        text = f"launch {launched.number}: {each.row.text}: {message} (KV group {group})"
        yield Violation(
            text, "table_block_ids", found=found, expected=int(table[logical]), place=each.row.place
        )
        return


@invariant("REQ005", stage="tensorize", reads=("block_ids", "slots"))
def slot_outside_its_blocks(launched: LaunchView) -> Violations:
    """A token is written to a slot that is not its position's in the blocks that the request holds.

    ## What it does
    Checks `slot == block * size + position % size`, where `block` is the scheduler's at `position // size`,
    for every query row that is written.

    ## Why it matters
    The row lands in memory that belongs to somebody else, or where its own request never looks.

    ## Example
    Blocks of 32, the request holds 4 and 9, and position 33 is written to slot 257.

    ## Seen in
    vllm-project/vllm-ascend#11918 and #3482 (slots of an earlier length), slots read from a buffer that the
    next launch has overwritten.

    ## Limits
    A request whose beginning was not seen has no known blocks. Rows past a limit carry -1. Requests that
    context parallelism spreads over ranks are left out.
    """
    launched.require_whole()
    looked = False
    for each in launched.having("slots"):
        slots, positions = each.row.slots, each.row.positions
        if slots is None or positions is None or each.life.tables is None:
            continue
        for group, written in enumerate(slots):
            looked = True
            yield from _stray_slots(launched, each, group, written, positions)
    if not looked:
        raise NotApplicableError("no request whose blocks are known from its beginning")


def _stray_slots(
    launched: LaunchView, each: RowInLaunch, group: int, written: np.ndarray, positions: np.ndarray
) -> Violations:
    size, table = launched.size(group), each.blocks_of(group)
    logical = positions // size
    held = (logical >= 0) & (logical < len(table))
    wanted = np.full(len(written), -1, dtype=np.int64)
    wanted[held] = table[logical[held]] * size + positions[held] % size
    wrong = np.flatnonzero((written >= 0) & (written != wanted))
    if wrong.size:
        row = int(wrong[0])
        place = f"should be {int(wanted[row])}" if held[row] else "is past the blocks that it holds"
        message = f"launch {launched.number}: {each.row.text}: position {int(positions[row])} is written to "
        message += f"slot {int(written[row])}, {place} (KV group {group})"
        expected = int(wanted[row]) if held[row] else ""
        yield Violation(
            message, "slots", row, found=int(written[row]), expected=expected, place=each.row.place
        )
