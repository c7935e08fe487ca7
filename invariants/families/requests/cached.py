"""Prefixes found in the cache, rows computed again, and what a request is fed."""

from __future__ import annotations

from invariants.launches.view import EAGLE_WORDS, LaunchView
from invariants.rule import NotApplicableError, Violation, Violations, invariant


@invariant("REQ006", stage="prefill", reads=("launch", "request_id", "slots"))
def cached_prefix_of_other_tokens(launched: LaunchView) -> Violations:
    """A block that was found in the cache does not hold the request's own tokens.

    ## What it does
    At admission and resume, looks at each block below `num_cached`: the last write into it must have left a
    full block of the same tokens from the beginning on. Blocks that were filled before the recording, or by
    tokens that are not known, are not judged.

    ## Why it matters
    A hit beyond the equal prefix, or on a block that was freed and given to another request, gives a text
    that answers someone else's prompt.

    ## Example
    Request `b` finds 64 tokens, and block 7 of them holds tokens of request `a` that differ from place 40 on.

    ## Seen in
    Prefix caches whose hash leaves something out (adapter, picture, salt), and blocks freed too early.

    ## Limits
    Tokens are compared by hash, so their digests do as well. Requests that are spread over ranks are left
    out.
    """
    launched.require_whole()
    looked = False
    for each in launched.rows:
        for group, logical, block, held in each.life.pending:
            size = launched.size(group)
            mine = each.life.tokens.chain(logical, size)
            if mine is None:
                continue
            looked = True
            if held.chain != mine:
                what = "is not full" if held.chain is None else "holds other tokens"
                message = f"{each.row.text} found {each.life.cached} tokens in the cache; block {block} of "
                message += f"KV group {group}, for those from {logical * size} on, {what}: it was written by "
                message += launched.named(held.owner)
                yield Violation(message, "num_cached", found=block, expected=logical, place=each.row.place)
                break
    if not looked:
        raise NotApplicableError("no block whose tokens are known was found in the cache")


@invariant("REQ007", stage="draft", reads=("launch", "request_id", "slots", "proposer"))
def cached_drafter_row_of_another_token(launched: LaunchView) -> Violations:
    """The last block found in the cache holds a drafter's row that was made with another next token.

    ## What it does
    A drafter of the EAGLE kind makes its row of a token from the token after it. Engines therefore drop the
    last block that matches. Looks at the last hit block: the request that wrote it must have had the same
    token after it as this one.

    ## Why it matters
    Text stays right and acceptance falls, only for requests that hit the cache.

    ## Example
    Both prompts agree in 64 tokens and differ in the next; the second one finds all 64 in the cache.

    ## Seen in
    vllm-project/vllm (the drop of the last matched block with EAGLE).

    ## Limits
    Only in recordings from an engine's first launch on, and where no other request filled the next block with
    this request's tokens. Requests that are spread over ranks are left out.
    """
    launched.require_whole()
    looked = False
    for each in launched.rows:
        proposer = str(each.row.row.get("proposer") or "")
        if not proposer.startswith(EAGLE_WORDS) or not launched.from_start or each.life.cached is None:
            continue
        for group, logical, block, held in each.life.pending:
            size = launched.size(group)
            if (logical + 1) * size != each.life.cached - each.life.cached % size or held.following is None:
                continue
            following, whole = (
                each.life.tokens.at((logical + 1) * size),
                each.life.tokens.chain(logical, size),
            )
            if following is None or whole is None or held.chain != whole:
                continue
            looked = True
            beyond = each.life.tokens.chain(logical + 1, size)
            if following != held.following and (beyond is None or beyond not in launched.seen_chains):
                message = f"{each.row.text} found {each.life.cached} tokens in the cache; the drafter's last "
                message += f"row of block {block} was made with next token {held.following} of "
                message += f"{launched.named(held.owner)}, its own is {following}"
                yield Violation(
                    message, "num_cached", found=held.following, expected=following, place=each.row.place
                )
                break
    if not looked:
        raise NotApplicableError("no such drafter, or no last block whose next token is known")


@invariant("REQ008", stage="prefill", reads=("request_id", "committed_len", "query_len"))
def rows_left_out(launched: LaunchView) -> Violations:
    """A request's rows begin past the rows that its cache holds.

    ## What it does
    Follows each request: at admission and resume its first row is `num_cached`, then each launch begins where
    the one before ended. A row that begins later leaves a hole of keys that nobody computed. Beginning
    earlier computes rows again, which is lawful.

    ## Why it matters
    Attention reads whatever lies in the hole. After a preemption the text changes its subject.

    ## Example
    A resumed request found 32 tokens in the cache and computes from 47 on, where it was before.

    ## Seen in
    Recompute after preemption from the old number of computed tokens.

    ## Limits
    Rows that are withdrawn say nothing of the cache, nor do steps without `committed_len_after`.
    """
    looked, ends = False, dict[int, int | None]()
    for each in launched.rows:
        row, life = each.row, each.life
        end = ends.get(life.number, life.end)
        size = len(row.positions) if row.positions is not None else row.number("query_len")
        ends[life.number] = None if row.start is None or size is None else row.start + size
        if row.kind == "withdrawn" or row.start is None or end is None:
            continue
        looked = True
        if row.start > end:
            message = (
                f"launch {launched.number}: {row.text} is computed from position {row.start} on, but its "
            )
            message += f"cache holds {end} rows"
            yield Violation(message, "committed_len", found=row.start, expected=end, place=row.place)
    if not looked:
        raise NotApplicableError("no request whose rows before are known")


@invariant("REQ009", stage="prefill", reads=("request_id", "token_ids", "committed_len"))
def fed_tokens_of_another(launched: LaunchView) -> Violations:
    """A request is fed a token that is not its own at that position.

    ## What it does
    Compares the tokens of prefill chunks, of rows that are computed again and of roots with what is known of
    the request: its context, and what its steps committed and emitted.

    ## Why it matters
    The cache holds another text than the user sees, e.g. after a preemption or when buffers of the batch are
    shifted by a row.

    ## Example
    Position 40 of request `a` was emitted as 17 and is computed again as 5.

    ## Seen in
    Persistent batches whose rows are condensed, token buffers overwritten by the next launch.

    ## Limits
    Drafts are not known before they are fed. Withdrawn rows are left out.
    """
    looked = False
    for each in launched.having("token_ids"):
        looked |= each.row.kind != "withdrawn"
        if each.mistaken is not None:
            message = f"launch {launched.number}: {each.row.text} is fed a token at position {each.mistaken} "
            message += "that is not the one known of the request"
            yield Violation(message, "token_ids", found=each.mistaken, place=each.row.place)
    if not looked:
        raise NotApplicableError("no request is fed in this launch")
