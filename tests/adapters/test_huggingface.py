"""Hugging Face `generate`, really run, recorded as it goes: checked, replayed, and not changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.checkpoints import synthetic
from tests.cli.conftest import Specwb
from tests.cli.rewrite import rewrite
from tracing.reader import open_run
from workbench.adapters.huggingface import record_generate

PROMPT = torch.tensor([[5, 6, 7, 5, 6, 7, 5, 6]])
NEW = 14


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("llama")
    return synthetic.hf_teacher(folder), folder


def generate(model: Any, **options: Any) -> list[int]:
    options = {"prompt_lookup_num_tokens": 4, "max_new_tokens": NEW, "do_sample": False, **options}
    mask = torch.ones_like(PROMPT)
    return model.generate(PROMPT, attention_mask=mask, pad_token_id=0, **options)[0].tolist()


def rows_of(run: Path) -> list[dict[str, Any]]:
    return list(open_run(run).path("fused"))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_prompt_lookup_is_recorded_and_legal(
    specwb: Specwb,
    teacher: tuple[Any, Path],
    tmp_path: Path,
    attention: str,
) -> None:
    model, _ = teacher
    model.set_attn_implementation(attention)
    plain = generate(model)
    with record_generate(model, tmp_path / "run"):
        assert generate(model) == plain
    assert generate(model) == plain
    rows = rows_of(tmp_path / "run")
    emitted = [token for row in rows for token in row["emitted_token_ids"].tolist()]
    assert [*PROMPT[0].tolist(), *emitted] == plain
    assert {row["proposer"] for row in rows} == {"lookup"}
    assert any(len(row["token_ids"]) > 1 for row in rows)
    assert all(row["visible"] is not None for row in rows)
    answer = specwb("check", tmp_path / "run", "--format", "json")
    assert answer.exit_code == 0, answer.out
    rules = {rule["rule"]: rule for rule in json.loads(answer.out)["runs"][0]["paths"][0]["rules"]}
    for rule in ("MASK001", "MASK009", "POS001", "ACC002", "ACC004", "ACC008", "STEP002", "KV001"):
        assert rules[rule]["held"] > 0, rule


def test_an_assistant_model_is_recorded(specwb: Specwb, teacher: tuple[Any, Path], tmp_path: Path) -> None:
    """The model assists itself, so that drafts are accepted; two calls are two prompts."""
    import copy

    model, _ = teacher
    assistant = copy.deepcopy(model)
    assistant.generation_config.assistant_confidence_threshold = 0.0
    assistant.generation_config.num_assistant_tokens = 4
    with record_generate(model, tmp_path / "run"):
        for _ in range(2):
            generate(model, assistant_model=assistant, prompt_lookup_num_tokens=None)
    rows = rows_of(tmp_path / "run")
    assert {row["prompt_id"] for row in rows} == {0, 1}
    assert {row["proposer"] for row in rows} == {"draft_model"}
    assert max(len(row["accepted_nodes"]) for row in rows) >= 2
    assert specwb("check", tmp_path / "run").exit_code == 0


def test_it_is_replayed_with_its_model(specwb: Specwb, teacher: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = teacher
    run = tmp_path / "run"
    with record_generate(model, run, with_digest=True):
        generate(model)
    assert specwb("replay", run).exit_code in {0, 4}
    answer = specwb("replay", run, "--model", folder, "--format", "json")
    summary = json.loads(answer.out)
    assert summary["findings"] == []
    assert summary["emitted_token_ids"] == [generate(model)[PROMPT.shape[1] :]]
    assert summary["verdict"] in {"ok", "inconclusive"}
    assert summary["manifest"]["replay"]["models"] == {"teacher_weights": True}
    assert not any(reason.startswith("verify.logits") for reason in summary["not_checked"])

    def shift(_: str, row: dict[str, Any]) -> dict[str, Any]:
        if row["step"] == 1:
            row["target_top_logits"] = row["target_top_logits"] + np.float32(0.01)
        return row

    wrong = rewrite(run, tmp_path / "wrong", shift)
    found = json.loads(specwb("replay", wrong, "--model", folder, "--format", "json").out)["findings"]
    assert {(finding["step"], finding["rule"]) for finding in found} == {(1, "JUDGE-VERIFY-LOGITS")}


def test_a_sampled_run_says_no_choices(specwb: Specwb, teacher: tuple[Any, Path], tmp_path: Path) -> None:
    model, _ = teacher
    with record_generate(model, tmp_path / "run"):
        torch.manual_seed(0)
        generate(model, do_sample=True)
    assert all(row["target_token_ids"] is None for row in rows_of(tmp_path / "run"))
    assert specwb("check", tmp_path / "run").exit_code == 0


def test_an_engine_that_fails_leaves_a_readable_trace(teacher: tuple[Any, Path], tmp_path: Path) -> None:
    model, _ = teacher
    calls = iter(range(100))

    def crash(*_: Any) -> None:
        if next(calls) == 2:
            raise RuntimeError("device lost")

    handle = model.register_forward_pre_hook(crash)
    try:
        with pytest.raises(RuntimeError, match="device lost"), record_generate(model, tmp_path / "run"):
            generate(model)
    finally:
        handle.remove()
    run = open_run(tmp_path / "run")
    assert run.status == "failed"
    rows = list(run.path("fused"))
    assert rows[-1]["incomplete"] == "generate ended inside this step"
    assert rows[-1]["emitted_token_ids"] is None
    assert not hasattr(model, "__dict__") or "_get_candidate_generator" not in model.__dict__
