"""A smaller language model as drafter, on both paths, and its directory."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reference.model import ReferenceModels
from tests.greedy import greedy_decode
from tests.lockstep.runs import SMALL, Setup, run
from tests.pairs import tiny_pair
from tracing.errors import CheckpointError, UsageError
from tracing.models import ModelPair
from tracing.reader import open_run
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.shipped import shipped_pair_dirs
from workbench.fused.path import make_path


def drafting_pair(*, sliding_window: int | None = None) -> ModelPair:
    """A teacher of two layers, and its first layer, a little changed, as the draft model."""
    pair = tiny_pair(3, head_dim=16)
    draft = tiny_pair(4, layers=1, head_dim=16, sliding_window=sliding_window)
    weights = {
        name: pair.teacher_weights[name] + 0.02 * tensor for name, tensor in draft.teacher_weights.items()
    }
    return replace(
        pair, drafter=draft.teacher, drafter_weights=weights, target_from_draft=None, proposer="draft_model"
    )


@pytest.mark.parametrize("rung", ["masked", "cached", "replay"])
@pytest.mark.parametrize("layout", ["contiguous", "paged"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(12, 3, 4), (5, 3, 1)], ids=["tree", "chain"])
def test_a_run_is_clean_and_its_text_is_greedy(
    tmp_path: Path, shape: tuple[int, int, int], dtype: str, layout: str, rung: str
) -> None:
    nodes, depth, top_k = shape
    settings = replace(SMALL, tree_nodes=nodes, depth=depth, top_k=top_k, kv_layout=layout, block_size=16)
    setup = Setup(drafting_pair(), settings, dtype=dtype, rung=rung)
    outcome = run(tmp_path / "run", setup)
    assert outcome.verdict.verdict in {"ok", "near_tie"}
    assert {"draft.kv", "draft.draft_logprobs"} <= outcome.verdict.checked.keys()
    rows = list(open_run(outcome.folder).path("fused"))
    assert {row["proposer"] for row in rows} == {"draft_model"}
    if dtype == "float32":
        emitted = [token for row in rows for token in row["emitted_token_ids"].tolist()]
        greedy = greedy_decode(ReferenceModels(setup.pair), setup.prompt, settings.max_new_tokens)
        assert emitted == greedy[-len(emitted) :]


@pytest.mark.parametrize("rung", ["masked", "cached", "replay"])
def test_a_window_of_the_draft_model_alone_is_lawful(tmp_path: Path, rung: str) -> None:
    outcome = run(tmp_path / "run", Setup(drafting_pair(sliding_window=4), rung=rung))
    assert outcome.first is None
    assert outcome.verdict.checked["draft.draft_logprobs"] > 1


def test_more_candidates_than_tokens_are_refused() -> None:
    with pytest.raises(UsageError, match="top_k should be at most the draft vocabulary 64"):
        make_path(drafting_pair(), replace(SMALL, top_k=65), device="cpu")


def test_any_teacher_of_the_same_vocabulary_loads() -> None:
    teacher, _ = shipped_pair_dirs()
    loaded = load_pair(teacher, teacher, proposer="draft_model")
    assert loaded.pair.drafter == loaded.pair.teacher
    assert {"drafter.parameters", "pair.vocab_size", "pair.vocabulary"} <= {
        check.id for check in loaded.report.checks
    }


def test_tokens_that_mean_other_texts_are_refused(tmp_path: Path) -> None:
    teacher, _ = shipped_pair_dirs()
    shutil.copytree(teacher, tmp_path / "draft")
    tokenizer = tmp_path / "draft" / "tokenizer.json"
    content = json.loads(tokenizer.read_text("utf-8"))
    ids = content["model"]["vocab"]
    ids["a"], ids["b"] = ids["b"], ids["a"]
    tokenizer.write_text(json.dumps(content), "utf-8")
    with pytest.raises(CheckpointError, match=r"2 of \d+ token ids mean other texts to the draft model: \d+"):
        load_pair(teacher, tmp_path / "draft", proposer="draft_model")
