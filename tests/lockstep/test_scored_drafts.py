"""Drafts that show no search: their scores, drawn tokens and draws are judged by the reference's drafter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lockstep.runs import SMALL, Setup, run
from tests.lockstep.toy_heads import heads_pair, install
from tracing.reader import open_run


def heads(acceptance: str = "greedy", depth: int = 3, **options: Any) -> Setup:
    """A run of the toy pair, whose trees are two deep whatever the depth of a search."""
    settings = replace(SMALL, acceptance=acceptance, depth=depth)
    return Setup(pair=heads_pair(), settings=settings, **options)


def drafting(change: Any) -> Any:
    """Return a fault that changes what the path's draft stage gives."""

    def placed(stages: Any) -> Any:
        return replace(stages, draft=lambda state: change(state, stages.draft(state)))

    return placed


@pytest.mark.parametrize("rung", ["masked", "cached", "replay"])
@pytest.mark.parametrize(("acceptance", "depth"), [("greedy", 3), ("greedy", 0), ("follow", 3)])
def test_a_sound_draft_is_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rung: str, acceptance: str, depth: int
) -> None:
    install(monkeypatch, is_chain=acceptance == "follow")
    outcome = run(tmp_path, heads(acceptance, rung=rung, depth=depth))
    assert outcome.verdict.verdict == "ok", outcome.verdict
    assert "draft.draft_logprobs" in outcome.verdict.checked
    assert ("draft.drawn_tokens" in outcome.verdict.checked) == (acceptance == "follow")
    fused, reference = (list(open_run(tmp_path).path(name)) for name in ("fused", "reference"))
    for ours, theirs in zip(fused, reference, strict=True):
        np.testing.assert_allclose(ours["draft_logprobs"], theirs["draft_logprobs"], atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_wrong_score_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    install(monkeypatch)
    assert run(tmp_path / "clean", heads(dtype=dtype)).verdict.verdict == "ok"

    def off(_: Any, drafted: Any) -> Any:
        return replace(drafted, logprobs=drafted.logprobs + np.array([0, 0, 0, -4, 0, 0], dtype=np.float32))

    first = run(tmp_path / "off", heads(dtype=dtype), fused=drafting(off)).first
    assert (first.rule, first.moment.node, first.guilty) == ("JUDGE-DRAFT-SCORES", 3, "fused")


def test_another_token_than_the_drawn_one_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)

    def other(_: Any, drafted: Any) -> Any:
        return replace(drafted, token_ids=(drafted.token_ids + np.array([0, 0, 1])) % 64, logprobs=None)

    outcome = run(
        tmp_path,
        heads("follow"),
        fused=drafting(other),
    )
    assert (outcome.first.rule, outcome.first.moment.node) == ("JUDGE-DRAFT-DRAWN", 2)


@pytest.mark.parametrize("stage", ["prefill", "draft", "accept"])
def test_a_draw_too_many_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    install(monkeypatch)

    def wasteful(stages: Any) -> Any:
        def one_more(state: Any, *given: Any) -> Any:
            result = getattr(stages, stage)(state, *given)
            state.chooser.draws.take()
            return result

        return replace(stages, **{stage: one_more})

    outcome = run(tmp_path, heads("follow"), fused=wasteful)
    assert (outcome.first.rule, outcome.first.moment.stage) == ("JUDGE-DRAW-COUNT", stage)


def test_a_drafter_that_cannot_score_is_reported_as_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, scores=False)
    outcome = run(tmp_path, heads())
    assert outcome.verdict.verdict == "ok", outcome.verdict
    reasons = {each.quantity: each.reason for each in outcome.verdict.not_checked if each.stage == "draft"}
    assert "does not score drafts" in reasons["draft_logprobs"]


def without_features(stages: Any) -> Any:
    """A port for a drafter without taps: its results hold no features at all."""

    def commit(state: Any, tree: Any, verified: Any, accepted: Any) -> Any:
        empty = verified.logits[:, :0]
        return stages.commit(state, tree, replace(verified, features=empty), accepted)

    return replace(
        stages,
        prefill=lambda *given: replace(stages.prefill(*given), features=None),
        verify=lambda *given: replace(stages.verify(*given), features=None),
        commit=commit,
    )


@pytest.mark.parametrize("wrong", [False, True], ids=["sound", "wrong"])
def test_a_drafter_without_taps_needs_no_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: bool
) -> None:
    install(monkeypatch)

    def stages(sound: Any) -> Any:
        placed = without_features(sound)
        if not wrong:
            return placed
        return replace(
            placed, verify=lambda *given: replace(made := placed.verify(*given), logits=made.logits + 1)
        )

    outcome = run(tmp_path, Setup(pair=heads_pair(reads_features=False)), fused=stages)
    expected = "JUDGE-VERIFY-LOGITS" if wrong else None
    assert (outcome.first.rule if outcome.first else None) == expected, outcome.verdict


def test_a_drafter_with_taps_needs_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    first = run(tmp_path, heads(), fused=without_features).first
    assert first.column == "features"
    assert "a tensor of floats, got None" in first.message
