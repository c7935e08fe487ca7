"""The shipped pair on its shipped prompts: both paths against plain greedy decoding, and the judge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from reference.model import ReferenceModels
from reference.path import make_path as make_reference
from tests.greedy import greedy_decode
from tests.lockstep.runs import Setup, run
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, NullWatch
from workbench.checkpoints.load import LoadedPair, load_pair
from workbench.checkpoints.shipped import PROMPTS, shipped_pair_dirs, shipped_prompt
from workbench.fused.path import make_path
from workbench.lockstep.session.prompts import read_prompts

SETTINGS = DecodeSettings(max_new_tokens=24)


@cache
def shipped() -> LoadedPair:
    return load_pair(*shipped_pair_dirs())


def contexts(name: str) -> list[list[int]]:
    """The token ids of each turn's text, later texts appended as if nothing was decoded between."""
    tokenizer = shipped().tokenizer
    (prompt,) = read_prompts(str(shipped_prompt(name)))
    token_ids: list[int] = []
    found = []
    for number, text in enumerate(prompt.texts):
        token_ids = [*token_ids, *tokenizer.encode(text, special_tokens=number == 0)]
        found.append(token_ids)
    return found


def decoded(path: DecodePath, prompt: Sequence[int]) -> list[int]:
    stages, state = path.stages, path.begin(NullWatch())
    emitted = [int(stages.prefill(state, prompt).context_token_ids[-1])]
    while True:
        tensorized = stages.tensorize(state, stages.draft(state))
        verified = stages.verify(state, tensorized)
        accepted = stages.accept(state, tensorized, verified, SETTINGS.max_new_tokens - len(emitted))
        stages.commit(state, tensorized, verified, accepted)
        emitted += accepted.emitted_token_ids.tolist()
        if accepted.stop_reason is not None:
            return emitted


@pytest.mark.parametrize("name", PROMPTS)
def test_both_paths_emit_what_plain_greedy_decoding_emits(name: str) -> None:
    pair = shipped().pair
    models = ReferenceModels(pair, "float32")
    fused = make_path(pair, SETTINGS, device="cpu")
    reference = make_reference(pair, SETTINGS, dtype="float32", rung="cached")
    for prompt in contexts(name):
        greedy = greedy_decode(models, prompt, SETTINGS.max_new_tokens)
        assert decoded(fused, prompt) == greedy
        assert decoded(reference, prompt) == greedy


@pytest.mark.parametrize(("dtype", "verdicts"), [("float32", {"ok"}), ("bfloat16", {"ok", "near_tie"})])
def test_the_judge_is_content_with_the_shipped_pair(tmp_path: Path, dtype: str, verdicts: set[str]) -> None:
    setup = Setup(
        pair=shipped().pair,
        settings=DecodeSettings(max_new_tokens=40),
        dtype=dtype,
        rung="cached",
        prompt=tuple(contexts("code.txt")[0]),
    )
    outcome = run(tmp_path / "run", setup)
    assert outcome.log.findings == []
    assert outcome.verdict.verdict in verdicts
    assert outcome.verdict.coverage["rejections"] > 0
    assert outcome.verdict.coverage["branches"] > 0


def test_the_prompts_are_what_they_are_called() -> None:
    assert len(contexts("long.txt")[0]) > 600
    assert len(contexts("two_turns.jsonl")) == 2
