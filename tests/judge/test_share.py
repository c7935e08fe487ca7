"""The law of the share: at least nine tenths of what was declared, and never of nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from invariants.outcome import Counts, Held, NotChecked
from tracing.settings import DecodeSettings
from workbench.judge.notes import Unchecked
from workbench.judge.rules_share import rules_and_stages
from workbench.judge.share import LEAST, Part, Share
from workbench.judge.step import StepJudgement
from workbench.judge.verdict import RunVerdict, Tally
from workbench.lockstep.session.job import LockstepOptions

COVERED = Counter(steps=1, rejections=1, branches=1)


def verdict_of(share: Share) -> RunVerdict:
    tally = Tally()
    tally.add(StepJudgement(checked=("verify.logits",), coverage=COVERED))
    return tally.verdict(share)


@pytest.mark.parametrize(
    ("part", "enough"),
    [
        (Part(9, 10), True),
        (Part(8, 10), False),
        (Part(0, 0), False),
        (Part(1, 1), True),
        (Part(9, 86), False),
    ],
)
def test_nine_tenths_are_enough(part: Part, enough: bool) -> None:
    assert float(LEAST) == 0.9
    assert part.is_enough is enough
    verdict = verdict_of(Share(part))
    assert (verdict.verdict, verdict.exit_code) == (("ok", 0) if enough else ("inconclusive", 4))
    assert f"rests on {part} steps" in verdict.remark


def test_what_is_not_known_makes_no_ok() -> None:
    verdict = verdict_of(Share(Part(10, 10), unknown=("the recorded run failed",)))
    assert verdict.text == "inconclusive (the recorded run failed; rests on 10 of 10 steps)"


def test_a_stage_that_was_given_and_never_compared_counts() -> None:
    tally = Tally()
    lost = Unchecked("draft", "*", "the reference refuses it")
    lacking = Unchecked("commit", "kv_rows", "the path does not provide it", is_given=False)
    tally.add(StepJudgement(checked=("verify.logits",), not_checked=(lost, lacking), coverage=COVERED))
    assert tally.stages(("draft", "verify", "commit")) == Part(1, 2)
    assert tally.stages(("verify", "commit")) == Part(1, 1)


def test_rules_count_where_their_columns_were_there() -> None:
    counts = {"MASK001": Counts(), "TREE001": Counts(), "KV001": Counts(), "ROW002": Counts()}
    counts["TREE001"].add(Held("TREE001"), 5)
    counts["ROW002"].add(Held("ROW002"), 5)  # reads no column that a step needs
    counts["MASK001"].add(NotChecked("MASK001", "column visible was not recorded", ("visible",)), 5)
    counts["KV001"].add(NotChecked("KV001", "nothing to look at", vacuous=True), 5)
    assert rules_and_stages(counts, {"parents"}) == (Part(1, 1), Part(1, 1))
    assert rules_and_stages(counts, {"parents", "visible"}) == (Part(1, 2), Part(1, 2))
    assert rules_and_stages(counts, {"parents", "visible"}, {"MASK001"}) == (Part(1, 1), Part(1, 1))


def test_every_kth_step_is_a_sample_and_a_range_is_none() -> None:
    every = LockstepOptions(settings=DecodeSettings(), judge_every=3)
    part = LockstepOptions(settings=DecodeSettings(), steps=(0, 3))
    assert [step for step in range(9) if every.samples(step)] == [0, 3, 6]
    assert all(part.samples(step) for step in range(9))
