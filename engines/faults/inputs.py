"""What attention is given: positions, lengths, slots and tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engines.faults.planting import after_inputs, replace_method, runner_class, touched


def positions_plus_one() -> None:
    """Every verified row is one position too late for rotary."""

    def change(runner: Any, rows: list[int]) -> None:
        starts = runner.query_start_loc.np
        for row in rows:
            runner.positions[starts[row] : starts[row + 1]] += 1

    after_inputs(change)


def seq_lens_one_short() -> None:
    """The attention of a request that verifies is told one token less."""

    def change(runner: Any, rows: list[int]) -> None:
        runner.seq_lens[rows] -= 1

    after_inputs(change)


def frozen_lengths() -> None:
    """The attention gets the lengths of the launch before, as a graph whose inputs were not renewed."""
    before: dict[str, int] = {}

    def change(runner: Any, rows: list[int]) -> bool:
        names, now = runner.input_batch.req_ids, {}
        for row in rows:
            now[names[row]] = int(runner.seq_lens[row])
            runner.seq_lens[row] = before.get(names[row], now[names[row]])
        is_changed = any(before.get(name, length) != length for name, length in now.items())
        before.update(now)
        return is_changed

    after_inputs(change)


def host_length_not_corrected() -> None:
    """The host's mirror of the lengths still counts the drafts that were rejected."""

    def change(runner: Any, rows: list[int]) -> None:
        runner.optimistic_seq_lens_cpu[rows] += 2

    after_inputs(change)


def resumed_one_late() -> None:
    """A preempted request is computed again from the second token on."""

    def make(original: Any) -> Any:
        def updated(runner: Any, output: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(runner, output, *args, **kwargs)
            for name in output.scheduled_cached_reqs.resumed_req_ids:
                row = runner.input_batch.req_id_to_index.get(name)
                if row is not None:
                    runner.input_batch.num_computed_tokens_cpu[row] += 1
                    touched(runner, [name])
            return result

        return updated

    replace_method(runner_class(), "_update_states", make)


def _tables(change: Callable[[Any, int], bool]) -> None:
    """Let a change be made to the worker's block table before it goes to the device."""
    from vllm.v1.worker.block_table import MultiGroupBlockTable

    def make(original: Any) -> Any:
        def committed(tables: Any, num_requests: int) -> Any:
            changed = change(tables.block_tables[0], num_requests)
            result = original(tables, num_requests)
            if changed:
                touched(None, [], -1)
            return result

        return committed

    replace_method(MultiGroupBlockTable, "commit_block_table", make)


def shared_block() -> None:
    """The second request of a launch writes into the last block of the first one."""

    def change(table: Any, num_requests: int) -> bool:
        sizes, ids = table.num_blocks_per_row, table.block_table.np
        if num_requests < 2 or min(sizes[0], sizes[1]) < 2:
            return False
        ids[1, sizes[1] - 1] = ids[0, sizes[0] - 1]
        return True

    _tables(change)


def table_overrun() -> None:
    """The last block of the first request is read one place beyond the end of its row."""

    def change(table: Any, num_requests: int) -> bool:
        sizes, ids = table.num_blocks_per_row, table.block_table.np
        if num_requests < 1 or sizes[0] < 2:
            return False
        ids[0, sizes[0] - 1] = ids[0, sizes[0]]
        return True

    _tables(change)


def slots_of_the_launch_before() -> None:
    """The buffer of slots still holds those of the launch before, where both have the same size."""
    from vllm.v1.worker.block_table import BlockTable

    before: dict[int, Any] = {}

    def make(original: Any) -> Any:
        def computed(table: Any, num_requests: int, starts: Any, positions: Any) -> Any:
            result = original(table, num_requests, starts, positions)
            size, slots = len(positions), table.slot_mapping.gpu
            now = slots[:size].clone()
            if size in before:
                slots[:size] = before[size]
            before.clear()
            before[size] = now
            return result

        return computed

    replace_method(BlockTable, "compute_slot_mapping", make)
