"""Medusa heads on a static tree, on both paths."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reference.model import ReferenceModels
from tests.greedy import greedy_decode
from tests.lockstep.runs import SMALL, Setup, run
from tests.pairs import tiny_pair
from tracing.errors import UsageError
from tracing.models import MedusaConfig, ModelPair
from tracing.reader import open_run
from tracing.settings import DecodeSettings
from tracing.stages import Drafted, NullWatch, Stages
from workbench.fused.path import make_path
from workbench.lockstep.engine.step import run_prefill, run_step
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.npu import dispatch
from workbench.npu.operators.fused_infer_attention.masks import DECODE_ROWS

TREE = "0 1 2 0.0 0.1 1.0 0.0.0"
SETTINGS = replace(SMALL, static_tree=TREE, tree_nodes=8, block_size=16)


def medusa_pair(*, rows: int = 64, shared: bool = False, heads: int = 3) -> ModelPair:
    """Heads of two blocks over a tiny teacher, over all tokens or over the last `rows`, in reverse."""
    pair = tiny_pair(3, head_dim=16)
    hidden, vocab = pair.teacher.hidden_size, pair.teacher.vocab_size
    torch.manual_seed(1)
    kept = torch.arange(vocab - 1, vocab - 1 - rows, -1)
    head = pair.teacher_weights["lm_head.weight"][kept]
    weights = {"lm_head.weight": head} if shared else {}
    for number in range(heads):
        for layer in range(2):
            weights[f"blocks.{number}.layers.{layer}.weight"] = torch.randn(hidden, hidden) * 0.1
            weights[f"blocks.{number}.layers.{layer}.bias"] = torch.randn(hidden) * 0.1
        if not shared:
            weights[f"lm_heads.{number}.weight"] = head + 0.1 * torch.randn(rows, hidden)
    config = MedusaConfig(hidden, heads, 2, rows, shared_head=shared, logit_scale=0.5)
    return replace(pair, drafter=config, drafter_weights=weights, target_from_draft=kept, proposer="medusa")


@pytest.mark.parametrize("rung", ["masked", "cached", "replay"])
@pytest.mark.parametrize("layout", ["contiguous", "paged"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("pair", [medusa_pair(), medusa_pair(rows=20), medusa_pair(shared=True)])
def test_a_run_is_clean_and_its_text_is_greedy(
    tmp_path: Path, pair: ModelPair, dtype: str, layout: str, rung: str
) -> None:
    setup = Setup(pair, replace(SETTINGS, kv_layout=layout), dtype=dtype, rung=rung)
    outcome = run(tmp_path / "run", setup)
    assert outcome.first is None
    assert {
        "draft.static_parents",
        "draft.static_ranks",
        "draft.draft_logprobs",
    } <= outcome.verdict.checked.keys()
    recorded = list(open_run(outcome.folder).path("fused"))
    assert {row["proposer"] for row in recorded} == {"medusa"}
    assert all(np.array_equal(row["parents"], recorded[0]["parents"]) for row in recorded)
    if dtype == "float32":
        emitted = [token for row in recorded for token in row["emitted_token_ids"].tolist()]
        greedy = greedy_decode(ReferenceModels(setup.pair), setup.prompt, SETTINGS.max_new_tokens)
        assert emitted == greedy[-len(emitted) :]


def test_a_token_of_another_rank_is_found_though_its_score_is_its_own(tmp_path: Path) -> None:
    """Catches a judge that looks at scores alone: the second best token twice, scored rightly."""

    def swapped(stages: Stages) -> Stages:
        def draft(state: Any) -> Drafted:
            assert stages.draft is not None
            made = stages.draft(state)
            assert made.logprobs is not None
            tokens, scores = made.token_ids.copy(), made.logprobs.copy()
            tokens[[1, 2]], scores[[1, 2]] = tokens[[2, 1]], scores[[2, 1]]
            return replace(made, token_ids=tokens, logprobs=scores)

        return replace(stages, draft=draft)

    flat = replace(SETTINGS, static_tree="0 1 2", tree_nodes=4)
    outcome = run(tmp_path / "run", Setup(medusa_pair(), flat), fused=swapped)
    assert (outcome.first.rule, outcome.first.moment.node) == ("JUDGE-DRAFT-RANK", 1)
    assert "of rank 1 in row 0; the static tree asks for rank 0" in outcome.first.message


def test_another_tree_than_the_static_one_is_found(tmp_path: Path) -> None:
    def moved(stages: Stages) -> Stages:
        def draft(state: Any) -> Drafted:
            assert stages.draft is not None
            made = stages.draft(state)
            parents = made.parents.copy()
            parents[5] = 2
            return replace(made, parents=parents, depths=None, logprobs=None)

        return replace(stages, draft=draft)

    outcome = run(tmp_path / "run", Setup(medusa_pair(), SETTINGS), fused=moved)
    assert (outcome.first.rule, outcome.first.moment.node) == ("JUDGE-DRAFT-TOPOLOGY", 5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (replace(SETTINGS, static_tree="0 0.0 0.0.0 0.0.0.0"), "at most 3 deep"),
        (replace(SETTINGS, tree_nodes=7), "at least 8, the nodes of the static tree, got 7"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: DecodeSettings, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_path(medusa_pair(), settings, device="cpu")


@pytest.mark.parametrize(("tree", "rows"), [("pangu_stage2", 57), ("pangu_5heads_top10", 65)])
def test_published_trees_of_more_rows_than_a_round_of_decoding_take_the_prompts_path(
    tree: str, rows: int
) -> None:
    """Sixteen rows are all that decoding takes: these are launched with a full mask and no sparse mode."""
    pair = medusa_pair(heads=5)
    settings = replace(SETTINGS, static_tree=tree, tree_nodes=rows, kv_layout="contiguous")
    calls: list[dict[str, Any]] = []

    def noted(operator: Any, *states: Any, **options: Any) -> Any:
        calls.append({"rows": states[0].shape[1], **options})
        return operator(*states, **options)

    path = PathUnderTest.begin(make_path(pair, settings, device="cpu"), NullWatch())
    run_prefill(path, [1, 2, 3, 4, 5])
    with dispatch.wrapped("npu_fused_infer_attention_score", lambda operator: partial(noted, operator)):
        run_step(path, 16)
    assert {each["rows"] for each in calls} == {rows}
    assert rows > DECODE_ROWS
    for each in calls:
        assert each["sparse_mode"] == 0
        assert each["atten_mask"].shape[-2] == rows
        assert each["atten_mask"].dtype is torch.bool
