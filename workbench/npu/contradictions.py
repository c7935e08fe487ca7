"""Where pages, code and reports from the field disagree, as data: claims with sources, and what we follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Claim:
    """One of the answers that a source gives.

    Attributes:
        observation: What a probe sees where this claim is true; the key that settles it.
        source: Who says so.
    """

    observation: str
    source: str


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A question with more than one documented answer.

    Attributes:
        key: Stable name, also of its probe.
        operator: The operator in question.
        question: The question, one line.
        claims: The answers.
        followed: Observation that the emulation and the fused path go by.
    """

    key: str
    operator: str
    question: str
    claims: tuple[Claim, ...]
    followed: str


_FIA: Final = "npu_fused_infer_attention_score"
_FIA_PAGE: Final = "torch page of npu_fused_infer_attention_score"

CONTRADICTIONS: Final[tuple[Contradiction, ...]] = (
    Contradiction(
        "lse_off_shape",
        _FIA,
        "What shape has the second output when the log-sum-exp is not asked for?",
        (Claim("(1,)", _FIA_PAGE), Claim("(0,)", "torch_npu eager code and Meta function")),
        "(0,)",
    ),
    Contradiction(
        "nbsd_output",
        _FIA,
        "In which order are the axes of an output in layout NBSD?",
        (Claim("(B, N, S, D)", _FIA_PAGE), Claim("(N, B, S, D)", "torch_npu code and Meta function")),
        "(N, B, S, D)",
    ),
    Contradiction(
        "tree_mask_gqa",
        f"{_FIA}_v2",
        "Does sparse_mode 9 (tree mask) work for plain grouped attention, without rope inputs?",
        (
            Claim("refused", "wheel docstring and host check, July 2026"),
            Claim("equals the full mask", "aclnnFusedInferAttentionScoreV4 page, July 2026"),
        ),
        "refused",
    ),
    Contradiction(
        "mask_polarity",
        _FIA,
        "Does True in atten_mask hide a column or show it?",
        (
            Claim("True hides", "parameter text, host code and vendor tests"),
            Claim("True shows", f"example 3 of the {_FIA_PAGE} (a lower triangle as causal mask)"),
        ),
        "True hides",
    ),
    Contradiction(
        "block_size_max",
        _FIA,
        "Is block_size 1024 allowed with head dim 128?",
        (Claim("refused", f"{_FIA_PAGE} (limit 512)"), Claim("accepted", "aclnn page and host check (1024)")),
        "accepted",
    ),
    Contradiction(
        "w4_nz_transposed",
        "npu_weight_quant_batchmatmul",
        "Must x be transposed for per-group int4 weights in format NZ?",
        (Claim("only transposed", "torch page"), Claim("only plain", "aclnn page")),
        "only plain",
    ),
    Contradiction(
        "moe_renorm",
        "npu_moe_gating_top_k",
        "Is renorm 1 allowed with softmax?",
        (Claim("refused", "torch page"), Claim("accepted", "aclnn page")),
        "refused",
    ),
    Contradiction(
        "negative_slot",
        "npu_scatter_pa_kv_cache",
        "What happens to a row whose slot is -1?",
        (Claim("refused", "torch page (range from 0)"), Claim("row skipped", "kernel source")),
        "refused",
    ),
    Contradiction(
        "top_k_top_p_neither",
        "npu_top_k_top_p",
        "May both p and k be left out, as the schema's defaults say?",
        (Claim("accepted", "schema"), Claim("refused", "torch page and Meta function")),
        "refused",
    ),
    Contradiction(
        "sink_dtype",
        f"{_FIA}_v2",
        "May learnable_sink be float16?",
        (Claim("refused", "host check"), Claim("accepted", "aclnn page")),
        "refused",
    ),
    Contradiction(
        "gqa_ratio",
        _FIA,
        "May more than 64 query heads share one KV head?",
        (Claim("refused", _FIA_PAGE), Claim("accepted", "aclnnFusedInferAttentionScoreV4 page")),
        "refused",
    ),
    Contradiction(
        "batch_max",
        _FIA,
        "Is a batch of 65536 allowed?",
        (Claim("refused", "torch page of npu_incre_flash_attention (65535)"), Claim("accepted", _FIA_PAGE)),
        "accepted",
    ),
    Contradiction(
        "mask_q1",
        _FIA,
        "Is the whole mask read when there is one query row and more than 512 columns?",
        (
            Claim("mask obeyed", _FIA_PAGE),
            Claim("columns past 512 not masked", "vllm-ascend issue 15503, torch_npu 2.10"),
        ),
        "mask obeyed",
    ),
    Contradiction(
        "tnd_without_mask",
        _FIA,
        "Does layout TND without a mask weigh columns by their scores?",
        (Claim("by score", _FIA_PAGE), Claim("uniform average", "vllm-ascend issue 13699")),
        "by score",
    ),
)
