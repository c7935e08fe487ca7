"""Log-probabilities that an engine returned, judged by the true rows: its own token's, in the stated mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracing.finding import Finding
from tracing.moment import Moment
from workbench.judge.logprobs import judge_logprobs, value_of
from workbench.judge.notes import Notes, StageJudgement

TRUTH = np.random.default_rng(4).normal(0, 3, (5, 40))
SAMPLES = [TRUTH + np.random.default_rng(seed).normal(0, 1e-6, TRUTH.shape) for seed in (1, 2)]
PATH, EMITTED = [0, 2, 3], [7, 11, 13]


def judged(values: Any, mode: str = "raw_logprobs", dtype: str = "float32") -> StageJudgement:
    notes = Notes(Moment(0, 0, 4), "accept", dtype)
    given = np.asarray(values, dtype=np.float32)
    judge_logprobs(notes, given, path=PATH, emitted=EMITTED, mode=mode, logits=[TRUTH, *SAMPLES])
    return notes.judgement()


def true_values(mode: str = "raw_logprobs") -> list[float]:
    return [value_of(TRUTH[node], token, mode) for node, token in zip(PATH, EMITTED, strict=True)]


def findings(*given: Any, **more: Any) -> tuple[Finding, ...]:
    return judged(*given, **more).findings


@pytest.mark.parametrize("mode", ["raw_logprobs", "raw_logits"])
def test_values_of_its_tokens_pass_in_their_mode_alone(mode: str) -> None:
    other = "raw_logits" if mode == "raw_logprobs" else "raw_logprobs"
    assert judged(true_values(mode), mode).checked == ("accept.emitted_logprobs",)
    assert not findings(true_values(mode), mode)
    assert findings(true_values(other), mode)[0].rule == "JUDGE-ACCEPT-LOGPROBS"


def test_log_probabilities_are_those_of_a_softmax() -> None:
    exact = np.log(np.exp(TRUTH[2]) / np.exp(TRUTH[2]).sum())
    assert value_of(TRUTH[2], 11, "raw_logprobs") == pytest.approx(exact[11], abs=1e-12)


def test_a_value_of_another_row_is_named() -> None:
    first, second, third = true_values()
    (found,) = findings([first, third, second])
    assert found.moment.node == 2
    assert found.message.endswith("that is the value of token 13 after node 3")


def test_one_value_too_few_is_found_and_unknown_modes_are_not_checked() -> None:
    assert findings(true_values()[:2])[0].message.startswith("2 log-probabilities")
    for mode in ("", "processed_logprobs"):
        said = judged([5.0, 5.0, 5.0], mode)
        assert not said.findings
        assert [each.quantity for each in said.not_checked] == ["emitted_logprobs"]


def test_rounding_of_what_is_returned_is_allowed() -> None:
    assert not findings(np.array(true_values()) * (1 + 2.0**-11))
    assert findings(np.array(true_values()) * 1.02)
