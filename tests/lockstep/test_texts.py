"""Texts of closed engines: wrong ones are found at their first wrong token, right ones are silent."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from reference import teacher
from reference.model import ReferenceModels
from tests.lockstep.texts_made import greedy_text, judge_of
from tests.pairs import tiny_pair
from tracing.errors import UsageError
from workbench.judge.allowance import Norms
from workbench.judge.texts import UNJUDGED, TextRecord, TextsTally
from workbench.lockstep.texts import judging
from workbench.lockstep.texts import rows as text_rows
from workbench.lockstep.texts.rows import TextRows

PAIR = tiny_pair(3, noise=0.6)
PROMPT = (5, 9, 33, 2, 17, 40)
LENGTH = 20
TEXT = tuple(greedy_text(PAIR, PROMPT, LENGTH))
EOS = next(token for token in range(64) if token not in TEXT)
JUDGE = judge_of(replace(PAIR, eos_token_ids=frozenset({EOS})))
CLEAN = TextRecord(number=0, prompt_token_ids=PROMPT, output_token_ids=TEXT, max_new_tokens=LENGTH)


def _other(token: int) -> int:
    return next(each for each in range(64) if each not in {token, EOS} and each not in TEXT)


def test_the_teachers_own_text_is_silent() -> None:
    judged = JUDGE(CLEAN)
    assert (judged.num_tokens, judged.findings, judged.not_checked) == (LENGTH, (), ())


@pytest.mark.parametrize("place", [0, 7, LENGTH - 1])
def test_a_changed_token_is_found_where_it_is(place: int) -> None:
    output = list(TEXT)
    output[place] = _other(TEXT[place])
    first = JUDGE(replace(CLEAN, output_token_ids=tuple(output))).findings[0]
    assert (first.rule, first.moment.step) == ("JUDGE-TEXT-TOKEN", place)
    assert (first.fused, first.reference) == (output[place], TEXT[place])
    assert first.gap is not None
    assert first.allowance is not None
    assert first.gap > first.allowance > 0


def test_a_token_left_out_and_a_repetition_are_told_apart() -> None:
    place = next(i for i in range(3, LENGTH - 2) if len({*TEXT[i - 1 : i + 2]}) == 3)
    short = JUDGE(replace(CLEAN, output_token_ids=TEXT[:place] + TEXT[place + 1 :], max_new_tokens=None))
    assert short.findings[0].moment.step == place
    assert "is left out" in short.findings[0].explanation
    again = TEXT[:place] + TEXT[place - 3 : place] + TEXT[place:]
    repeated = JUDGE(replace(CLEAN, output_token_ids=again, max_new_tokens=None))
    assert repeated.findings[0].moment.step >= place
    assert "repeats" in repeated.findings[0].explanation


def test_wrong_in_float32_may_be_a_near_tie_in_bfloat16() -> None:
    """The second best token where it is closest: within the error of bfloat16, not of float32."""
    pair = tiny_pair(3, noise=0.6)
    weights = dict(pair.teacher_weights)
    head = weights["lm_head.weight"].clone()
    twin = _other(TEXT[4])
    head[twin] = head[TEXT[4]] * (1 - 2e-3)
    pair = replace(pair, teacher_weights={**weights, "lm_head.weight": head})
    text = greedy_text(pair, PROMPT, 6)
    assert text[4] == TEXT[4]
    record = replace(CLEAN, output_token_ids=(*text[:4], twin), max_new_tokens=5)
    assert judge_of(pair)(record).findings[0].moment.step == 4
    half = judge_of(pair, "bfloat16")(record)
    assert not [each for each in half.findings if each.moment.step == 4]
    assert [tie.position for tie in half.near_ties if tie.position == 4] == [4]


def test_equal_rows_of_the_head_are_interchangeable() -> None:
    head = PAIR.teacher_weights["lm_head.weight"].clone()
    twin = _other(TEXT[4])
    head[twin] = head[TEXT[4]]
    pair = replace(PAIR, teacher_weights={**PAIR.teacher_weights, "lm_head.weight": head})
    record = replace(CLEAN, output_token_ids=(*TEXT[:4], twin), max_new_tokens=5)
    assert judge_of(pair)(record).findings == ()


def test_ends() -> None:
    ended = JUDGE(replace(CLEAN, output_token_ids=TEXT[:6], finish_reason="stop"))
    assert (ended.findings[0].rule, ended.findings[0].moment.step) == ("JUDGE-TEXT-END", 6)
    stops = replace(CLEAN, output_token_ids=TEXT[:6], finish_reason="stop", stop_token_ids=(TEXT[6],))
    assert JUDGE(stops).findings == ()
    assert JUDGE(replace(stops, output_token_ids=TEXT[:7])).findings == ()
    ignored = JUDGE(replace(CLEAN, stop_token_ids=(TEXT[2],)))
    assert [finding.rule for finding in ignored.findings] == ["JUDGE-TEXT-END"]
    beyond = JUDGE(replace(CLEAN, max_new_tokens=LENGTH - 3)).findings
    assert (beyond[0].rule, beyond[0].moment.step) == ("JUDGE-TEXT-END", LENGTH - 3)
    early = JUDGE(replace(CLEAN, output_token_ids=TEXT[:6], finish_reason="length"))
    assert early.findings[0].rule == "JUDGE-TEXT-END"
    unknown = JUDGE(replace(CLEAN, max_new_tokens=None))
    assert not unknown.findings
    assert "says why it ended" in unknown.not_checked[0]


def test_empty_texts() -> None:
    judged = JUDGE(replace(CLEAN, output_token_ids=(), finish_reason="stop"))
    assert judged.findings[0].rule == "JUDGE-TEXT-END"
    lawful = replace(CLEAN, output_token_ids=(), finish_reason="stop", stop_token_ids=(TEXT[0],))
    assert (JUDGE(lawful).findings, JUDGE(lawful).num_tokens) == ((), 1)
    tally = TextsTally()
    tally.add(JUDGE(replace(CLEAN, output_token_ids=())))
    assert (tally.verdict, tally.exit_code) == ("inconclusive", 4)


def test_tokens_outside_the_vocabulary() -> None:
    judged = JUDGE(replace(CLEAN, output_token_ids=(*TEXT[:3], 64, *TEXT[4:])))
    assert (judged.findings[0].moment.step, judged.num_tokens) == (3, 3)
    with pytest.raises(UsageError, match="prompt_token_ids should lie in"):
        JUDGE(replace(CLEAN, prompt_token_ids=(-1,)))


COUNTS = {
    (3, 4, 4, 5): True,
    (3, 4, 4, 4): True,
    (3, 4, 4, 7): True,
    (0,) * 20: True,
    (3, 4, 4, 3): False,
    (30, 4, 4, 5): False,
    (-1, 20): False,
}


@pytest.mark.parametrize(("counts", "fits"), COUNTS.items())
def test_accepted_counts_fit_the_length(counts: tuple[int, ...], fits: bool) -> None:
    """20 tokens: the last step may be cut by the limit, the first token may be prefill's."""
    rules = [finding.rule for finding in JUDGE(replace(CLEAN, accepted=counts)).findings]
    assert rules == ([] if fits else ["JUDGE-TEXT-ACCEPTED"])


def test_the_place_in_a_step_is_named() -> None:
    output = list(TEXT)
    output[5] = _other(TEXT[5])
    wrong = replace(CLEAN, output_token_ids=tuple(output), accepted=(3, 4, 4, 5))
    assert "accepted draft 2 of 4 of step 1" in JUDGE(wrong).findings[0].explanation


def test_rows_are_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    models, tokens = ReferenceModels(PAIR, "float64"), (*PROMPT, *TEXT)
    whole = np.concatenate([rows for _, rows in TextRows(models, tokens).logits(4, 24)])
    monkeypatch.setattr(text_rows, "MAX_BYTES", 1)
    in_pieces = TextRows(models, tokens)
    pieces = list(in_pieces.logits(4, 24))
    assert [start for start, _ in pieces] == [4, 8, 16, 24]
    np.testing.assert_allclose(np.concatenate([rows for _, rows in pieces]), whole, atol=1e-12)
    np.testing.assert_allclose(in_pieces.at([11, 13, 20]), whole[[7, 9, 16]], atol=1e-12)


def test_suspects_beyond_those_that_are_kept_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many near ties come before the wrong token."""
    monkeypatch.setattr(text_rows, "MAX_BYTES", 1)
    monkeypatch.setattr(
        judging.TextJudge,
        "_allowances",
        lambda _self, _tokens, given, _samples: [
            0.0 if suspect.row == len(PROMPT) - 1 + 15 else np.inf for suspect in given
        ],
    )
    output = tuple(_other(token) if place % 2 else token for place, token in enumerate(TEXT))
    judged = JUDGE(replace(CLEAN, output_token_ids=output))
    assert [finding.moment.step for finding in judged.findings] == [15]
    assert len(judged.near_ties) >= 7


def test_no_ok_about_rows_that_are_not_finite() -> None:
    head = PAIR.teacher_weights["lm_head.weight"].clone()
    head[0] = float("nan")
    broken = replace(PAIR, teacher_weights={**PAIR.teacher_weights, "lm_head.weight": head})
    tally = TextsTally()
    tally.add(judge_of(broken)(CLEAN))
    assert UNJUDGED in tally.not_checked
    assert tally.verdict == "inconclusive"


def test_near_ties_of_a_text_share_their_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: the truth runs a row at most twice, and the first sample once."""
    monkeypatch.setattr(text_rows, "MAX_BYTES", 1)
    monkeypatch.setattr(
        judging, "row_allowances", lambda truth, _samples, _dtype: Norms(*np.full((2, len(truth)), np.inf))
    )
    asked = Counter[str]()
    forward = teacher.forward

    def counted(models: ReferenceModels, token_ids: torch.Tensor, *given: Any, **named: Any) -> Any:
        asked[str(models.dtype)] += len(token_ids)
        return forward(models, token_ids, *given, **named)

    monkeypatch.setattr(teacher, "forward", counted)
    output = tuple(_other(token) for token in TEXT)
    judged = JUDGE(replace(CLEAN, output_token_ids=output))
    assert len(judged.near_ties) > 4 * text_rows.most_compared(JUDGE.runner.truth)
    num_rows = len(PROMPT) + LENGTH
    blocks = 8 * len(judged.near_ties) / text_rows.most_compared(JUDGE.runner.truth)
    assert asked["torch.float64"] <= 2 * num_rows + blocks
    assert asked["torch.float32"] <= num_rows + blocks
