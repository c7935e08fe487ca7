"""Sampled runs in staged lockstep: clean ones are ok, in any precision; a wrong decision is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.lockstep.runs import SMALL, Outcome, Setup, run
from tests.lockstep.test_draft_model import drafting_pair
from tracing.reader import open_run
from workbench.fused.sampling import law as law_module

SAMPLED = replace(SMALL, max_new_tokens=8, acceptance="eagle", temperature=0.8, sampling_top_k=20, top_p=0.9)


def decode(folder: Path, fused: Any = lambda stages: stages, **setup: Any) -> Outcome:
    settings = replace(SAMPLED, **setup.pop("settings", {}))
    return run(folder, Setup(settings=settings, options={"seed": 5, "repeat": False}, **setup), fused=fused)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("acceptance", ["eagle", "match", "medusa_nucleus", "medusa_typical"])
def test_a_clean_run_has_no_finding(tmp_path: Path, acceptance: str, dtype: str) -> None:
    outcome = decode(tmp_path, dtype=dtype, settings={"acceptance": acceptance})
    assert not outcome.log.findings
    assert outcome.verdict.verdict in {"ok", "near_tie", "inconclusive"}
    assert outcome.verdict.checked["accept.accepted_nodes"]
    assert outcome.verdict.checked["accept.target_probs"]


def test_a_seed_says_everything_and_the_trace_holds_the_draws(tmp_path: Path) -> None:
    rows = []
    for name in ("one", "same"):
        decode(tmp_path / name)
        rows.append(list(open_run(tmp_path / name).path("fused")))
    for one, same in zip(*rows, strict=True):
        for column in ("draws", "emitted_token_ids", "target_probs", "kv_digest_after", "draw_position"):
            assert np.array_equal(one[column], same[column]), column
        assert (one["row_temperature"], one["row_top_k"], one["row_seed"]) == (np.float32(0.8), 20, 5)
    positions = [row["draw_position"] for row in rows[0]]
    assert positions == np.cumsum([0, *(len(row["draws"]) for row in rows[0][:-1])]).tolist()


def other_final(stages: Any) -> Any:
    def accept(state: Any, *given: Any) -> Any:
        made = stages.accept(state, *given)
        token_id = (made.final_token_id + 1) % 64
        emitted = np.append(made.emitted_token_ids[:-1], token_id)
        return replace(made, final_token_id=token_id, emitted_token_ids=emitted)

    return replace(stages, accept=accept)


def test_another_token_than_the_drawn_one_is_a_finding(tmp_path: Path) -> None:
    assert decode(tmp_path, other_final).first.rule == "JUDGE-ACCEPT-FINAL"


def test_a_softmax_in_half_precision_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = law_module.laws

    def rounded(logits: Any, settings: Any) -> Any:
        return sound(logits, settings).bfloat16().float()

    monkeypatch.setattr("workbench.fused.sampling.base.laws", rounded)
    assert decode(tmp_path).first.rule == "JUDGE-ACCEPT-PROBS"


def test_a_temperature_that_is_not_the_settings_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = law_module.laws
    monkeypatch.setattr(
        "workbench.fused.sampling.base.laws",
        lambda logits, settings: sound(logits * torch.tensor(1.1), settings),
    )
    assert decode(tmp_path).first.rule == "JUDGE-ACCEPT-PROBS"


@pytest.mark.parametrize(
    ("acceptance", "dtype", "rung"),
    [
        ("rejection", "float32", "cached"),
        ("specinfer", "bfloat16", "masked"),
        ("rsd", "float32", "masked"),
        ("block", "float32", "replay"),
    ],
)
def test_a_clean_run_over_drawn_drafts(tmp_path: Path, acceptance: str, dtype: str, rung: str) -> None:
    setup = {"pair": drafting_pair(), "dtype": dtype, "rung": rung}
    outcome = decode(tmp_path, settings={"acceptance": acceptance, "temperature": 1.5, "depth": 2}, **setup)
    assert not outcome.log.findings
    assert outcome.verdict.checked["draft.drawn_tokens"]
    rows = list(open_run(tmp_path).path("fused"))
    assert all(row["draft_probs"][0] == 1 for row in rows)
    width = 1 if acceptance in {"rejection", "block"} else SMALL.top_k
    assert max(np.count_nonzero((row["parents"] == 0) & row["valid"]) - 1 for row in rows) == width


def test_a_law_that_is_not_the_drafts_is_a_finding(tmp_path: Path) -> None:
    """Drafted at one temperature, accepted as if at another."""

    def sharper(stages: Any) -> Any:
        def draft(state: Any) -> Any:
            made = stages.draft(state)
            law = made.draft_law**2
            return replace(made, draft_probs=made.draft_probs**2, draft_law=law / law.sum(-1, keepdim=True))

        return replace(stages, draft=draft)

    outcome = decode(tmp_path, sharper, settings={"acceptance": "rejection"}, pair=drafting_pair())
    assert outcome.first.rule == "JUDGE-DRAFT-LAW"
