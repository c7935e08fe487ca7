"""What the hooks expect of SGLang, as data: read from the source of one release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VERSION: Final = "0.5.23"
READ: Final = "2026-11-29"
"""Day on which the source of `VERSION` was read."""

RUN: Final = "sglang.srt.managers.scheduler.Scheduler.run_batch"
SAMPLE: Final = "sglang.srt.speculative.eagle_utils.eagle_sample"
PROCESS: Final = (
    "sglang.srt.managers.scheduler_components.batch_result_processor."
    "SchedulerBatchResultProcessor.process_batch_result_decode"
)

PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    RUN: ("self", "batch", "pp_proxy_tensors"),
    SAMPLE: (
        "verify_input", "batch", "logits_output", "grammar_mask", "uno_target_max_top_k", "watermark_state",
        "watermark_full_mask",
    ),
    PROCESS: ("self", "batch", "result"),
}  # fmt: skip
"""Parameters of what is hooked, by its full name."""
VERIFY_INPUT: Final = "sglang.srt.speculative.eagle_info.EagleVerifyInput"
VERIFY_FIELDS: Final = (
    *("draft_token", "custom_mask", "positions", "retrieve_index", "retrieve_next_token"),
    *("retrieve_next_sibling", "draft_token_num"),
)
"""Fields that are read of what is verified."""
SIMULATED: Final = "SGLANG_SIMULATE_ACC_LEN"
"""Above 0 the engine accepts by chance, whatever the teacher says."""
PROPOSERS: Final = {"NGRAM": "lookup", "STANDALONE": "draft_model"}
"""Algorithms that have another word here; the others are taken in small letters."""
TREES: Final = ("EAGLE", "EAGLE3", "STANDALONE", "NGRAM")
"""Algorithms whose verification is hooked; the others are refused by name."""
