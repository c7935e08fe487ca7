"""Mistakes in model runner V2."""

from __future__ import annotations

from typing import Any

from engines.faults.planting import replace_method, touched


def _after_attention(change: Any) -> None:
    """Let a change be made to the rows that verify drafts, once what a launch is given is prepared."""
    from vllm.v1.worker.gpu.model_runner import GPUModelRunner

    def make(original: Any) -> Any:
        def prepared(runner: Any, batch: Any) -> Any:
            result = original(runner, batch)
            counts = batch.num_draft_tokens_per_req
            rows = [] if counts is None else [row for row in range(batch.num_reqs) if counts[row] > 0]
            if rows:
                change(batch, rows)
                touched(runner, [batch.req_ids[row] for row in rows])
            return result

        return prepared

    replace_method(GPUModelRunner, "prepare_attn", make)


def second_positions_plus_one() -> None:
    """Every verified row is one position too late for rotary."""

    def change(batch: Any, rows: list[int]) -> None:
        starts = batch.query_start_loc_np
        for row in rows:
            batch.positions[int(starts[row]) : int(starts[row + 1])] += 1

    _after_attention(change)


def second_seq_lens_one_short() -> None:
    """The attention of a request that verifies is told one token less."""

    def change(batch: Any, rows: list[int]) -> None:
        batch.seq_lens[rows] -= 1

    _after_attention(change)


def _after_rejection(change: Any) -> None:
    """Let a change be made to sampled tokens, their numbers, and how many rows each request has."""
    from vllm.v1.worker.gpu.spec_decode import rejection_sampler

    def make(original: Any) -> Any:
        def sampled(*args: Any, **kwargs: Any) -> Any:
            tokens, counts = original(*args, **kwargs)
            change(tokens, counts, args[3].diff())
            return tokens, counts

        return sampled

    replace_method(rejection_sampler, "rejection_sample", make)


def second_wrong_bonus_token() -> None:
    """Where every draft is accepted, the token after them is the next one of the vocabulary."""

    def change(tokens: Any, counts: Any, num_rows: Any) -> None:
        for row in ((num_rows > 1) & (counts == num_rows)).nonzero().flatten().tolist():
            tokens[row, int(counts[row]) - 1] = (tokens[row, int(counts[row]) - 1] + 1) % 4096

    _after_rejection(change)


def second_never_accepting() -> None:
    """Every draft is rejected; the text stays right."""

    def change(_: Any, counts: Any, __: Any) -> None:
        counts.clamp_(max=1)

    _after_rejection(change)


def second_shared_block() -> None:
    """The table of a request names, in its last place, a block that another request was given before it."""
    from vllm.v1.worker.gpu.block_table import BlockTables

    given: dict[int, int] = {}

    def make(original: Any) -> Any:
        def appended(tables: Any, request: int, blocks: tuple[list[int], ...], overwrite: bool) -> Any:
            others = [last for index, last in given.items() if index != request]
            if others and not overwrite and blocks[0]:
                blocks = ([*blocks[0][:-1], others[-1]], *blocks[1:])
            elif blocks[0]:
                given[request] = blocks[0][-1]
            return original(tables, request, blocks, overwrite)

        return appended

    replace_method(BlockTables, "append_block_ids", make)
