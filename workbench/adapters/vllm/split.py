"""The worker's half of a launch, request by request; read when the engine has its own results."""

from __future__ import annotations

import numpy as np

from workbench.adapters.vllm.copies import as_array
from workbench.adapters.vllm.launch import LaunchInputs, Logits
from workbench.adapters.vllm.rows import Columns, Scored, SeenRequest


def seen_of(forward: LaunchInputs) -> dict[str, SeenRequest]:
    """Return what the hooks of the forward saw, by request."""
    starts, kv_lens = as_array(forward.query_starts), as_array(forward.kv_lens)
    committed = as_array(forward.committed)
    host = None if forward.kv_lens_host is None else as_array(forward.kv_lens_host)
    token_ids, position_ids = as_array(forward.token_ids), as_array(forward.position_ids)
    tables = [as_array(table) for table in forward.tables]
    slots = [as_array(group) for group in forward.slots]
    launch: Columns = {"kernel": forward.kernel, "num_tokens_padded": forward.num_tokens_padded,
                       "num_reqs_padded": forward.num_reqs_padded,
                       "graph_mode": forward.graph_mode or None}  # fmt: skip
    proposed = {} if forward.proposed is None else forward.proposed.by_name
    found = {}
    for row, request_id in enumerate(forward.request_ids):
        rows, kv_len = slice(int(starts[row]), int(starts[row + 1])), int(kv_lens[row])
        sizes = zip(tables, forward.block_sizes, strict=True)
        used = tuple(table[row, : -(-max(kv_len, 0) // size)] for table, size in sizes)
        found[request_id] = SeenRequest(
            batch_row=row,
            kv_len=kv_len,
            kv_len_host=None if host is None else int(host[row]),
            committed=int(committed[row]),
            token_ids=token_ids[rows],
            position_ids=position_ids[rows],
            tables=used,
            slots=tuple(group[rows] for group in slots),
            block_sizes=forward.block_sizes,
            is_causal=forward.is_causal,
            launch=launch,
            proposed=proposed.get(request_id),
        )
    return found


def scored_of(forward: LaunchInputs, logits: Logits) -> dict[str, Scored]:
    """Return what the sampler was given, by request."""
    ends = np.cumsum(as_array(logits.num_rows))
    ids, values = as_array(logits.top_ids), as_array(logits.top_logits)
    temperature, top_k, top_p = (
        None if each is None else as_array(each) for each in (logits.temperature, logits.top_k, logits.top_p)
    )
    found = {}
    for row, request_id in enumerate(forward.request_ids[: len(ends)]):
        rows = slice(0 if row == 0 else int(ends[row - 1]), int(ends[row]))
        sampling: Columns = {
            "row_temperature": 0.0 if temperature is None else float(temperature[row]),
            "row_top_k": 0 if top_k is None else int(top_k[row]),
            "row_top_p": 1.0 if top_p is None else float(top_p[row]),
        }
        kind = "masked" if logits.is_masked else "raw"
        found[request_id] = Scored(ids[rows], values[rows], kind, choices_known=False, row=sampling)
    return found
