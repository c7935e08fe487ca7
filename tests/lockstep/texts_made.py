"""Texts of the reference's own greedy decoding, and a judge of texts over a tiny pair."""

from __future__ import annotations

from collections.abc import Sequence

from reference.model import ReferenceModels
from reference.teacher import prefill
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from workbench.lockstep.texts.judging import TextJudge
from workbench.lockstep.truth.reference_runner import ReferenceRunner


def greedy_text(pair: ModelPair, prompt: Sequence[int], length: int) -> list[int]:
    models, text = ReferenceModels(pair), list[int]()
    while len(text) < length:
        text.append(int(prefill(models, [*prompt, *text]).logits[-1].argmax()))
    return text


def judge_of(pair: ModelPair, dtype: str = "float32") -> TextJudge:
    runner = ReferenceRunner(pair, DecodeSettings(), path_dtype=dtype)
    return TextJudge(runner, dtype, frozenset(pair.eos_token_ids))
