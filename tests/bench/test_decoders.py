"""Both sides give the teacher's text, are timed by the same clock, and a near tie is told from a mistake."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.pairs import tiny_pair
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from workbench.bench.equality import NearTieJudge, first_difference
from workbench.bench.studies.stages import StageClock
from workbench.bench.studies.vocab import HEAD, count_tokens, cut_vocabulary
from workbench.fused.path import make_engine, path_over
from workbench.lockstep.choice.decoders import Stopwatch, greedy_decoder, speculative_decoder
from workbench.lockstep.choice.kernels import OPERATORS, choose_kernels, options
from workbench.lockstep.truth.reference_runner import ReferenceRunner

EAGER = frozenset(OPERATORS)
PROMPT = [5, 9, 11, 3, 20, 41, 2]
SETTINGS = DecodeSettings(tree_nodes=8, depth=3, top_k=3)


class Clock:
    """Moves by one at each look."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        self.time += 1.0
        return self.time


@pytest.fixture(scope="module")
def pair() -> ModelPair:
    return tiny_pair(11, noise=0.25)


def test_both_sides_emit_the_same_text_and_stop_alike(pair: ModelPair) -> None:
    engine = make_engine(pair, SETTINGS, eager=EAGER)
    for limit in (1, 2, 3, 30):
        greedy = greedy_decoder(engine, Stopwatch())(PROMPT, limit)
        fast = speculative_decoder(path_over(engine), frozenset(), Stopwatch())(PROMPT, limit)
        assert fast.token_ids == greedy.token_ids
        assert len(greedy.token_ids) == limit
        assert sum(fast.num_accepted) + len(fast.num_accepted) + 1 == limit
    assert greedy.num_accepted == ()


def test_both_sides_stop_at_the_end_of_sequence(pair: ModelPair) -> None:
    engine = make_engine(pair, SETTINGS, eager=EAGER)
    text = greedy_decoder(engine, Stopwatch())(PROMPT, 30).token_ids
    ending = replace(pair, eos_token_ids=frozenset({text[10]}))
    engine = make_engine(ending, SETTINGS, eager=EAGER)
    greedy = greedy_decoder(engine, Stopwatch())(PROMPT, 30)
    fast = speculative_decoder(path_over(engine), ending.eos_token_ids, Stopwatch())(PROMPT, 30)
    assert fast.token_ids == greedy.token_ids
    assert greedy.token_ids[-1] == text[10]


def test_a_call_is_timed_from_before_prefill_to_after_the_last_token(pair: ModelPair) -> None:
    engine = make_engine(pair, SETTINGS, eager=EAGER)
    waits: list[int] = []
    watch = Stopwatch(now=Clock(), synchronize=lambda: waits.append(1))
    greedy = greedy_decoder(engine, watch)(PROMPT, 9)
    assert (greedy.seconds, greedy.first_token_seconds) == (2.0, 1.0)
    fast = speculative_decoder(path_over(engine), frozenset(), watch)(PROMPT, 9)
    assert (fast.seconds, fast.first_token_seconds) == (2.0, 1.0)
    assert len(waits) >= 4  # the device is waited for at both ends of both calls


def test_a_slow_stage_shows_in_its_own_column(pair: ModelPair) -> None:
    engine = make_engine(pair, SETTINGS, eager=EAGER)
    clock = Clock()
    path = path_over(engine)
    draft: Any = path.stages.draft

    def slow(state: Any) -> Any:
        clock.time += 100.0
        return draft(state)

    path = replace(path, stages=replace(path.stages, draft=slow))
    stage_clock = StageClock(Stopwatch(now=clock))
    fast = speculative_decoder(path, frozenset(), Stopwatch(now=clock), observer=stage_clock)
    decoded = fast(PROMPT, 20)
    steps, times = len(decoded.num_accepted), stage_clock.times
    assert times["draft"] == [101.0] * steps
    assert times["prefill"] == [1.0]
    assert all(times[stage] == [1.0] * steps for stage in ("tensorize", "verify", "accept", "commit"))


def test_the_first_difference_may_be_an_end() -> None:
    assert first_difference([1, 2], [1, 2]) is None
    assert first_difference([1, 2], [1, 3]) == 1
    assert first_difference([1, 2], [1]) == 1


def judge(pair: ModelPair) -> NearTieJudge:
    return NearTieJudge(lambda: ReferenceRunner(pair, DecodeSettings(), path_dtype="float32"), "float32")


def test_a_wrong_token_is_different_and_the_place_is_told(pair: ModelPair) -> None:
    engine = make_engine(pair, SETTINGS, eager=EAGER)
    text = list(greedy_decoder(engine, Stopwatch())(PROMPT, 12).token_ids)
    compare = judge(pair)
    assert compare(PROMPT, text, text).kind == "equal"
    wrong = [*text[:7], (text[7] + 1) % 64, *text[8:]]
    match = compare(PROMPT, text, wrong)
    assert (match.kind, match.position) == ("different", 7)
    assert "rounding allows" in match.why
    assert compare(PROMPT, text, text[:5]).kind == "different"


def test_a_token_that_ties_with_the_best_is_a_near_tie(pair: ModelPair) -> None:
    """Two rows of the head made equal: which of the two tokens is emitted is up to rounding."""
    engine = make_engine(pair, SETTINGS, eager=EAGER)
    text = list(greedy_decoder(engine, Stopwatch())(PROMPT, 12).token_ids)
    other = next(token for token in range(64) if token not in text)
    weights = dict(pair.teacher_weights)
    weights["lm_head.weight"] = weights["lm_head.weight"].clone()
    weights["lm_head.weight"][other] = weights["lm_head.weight"][text[7]]
    tied = replace(pair, teacher_weights=weights)
    swapped = [*text[:7], other, *text[8:]]
    assert judge(tied)(PROMPT, text, swapped).kind == "near_tie"
    assert judge(pair)(PROMPT, text, swapped).kind == "different"


def test_a_cut_vocabulary_keeps_the_frequent_tokens_each_with_its_row(pair: ModelPair) -> None:
    frequent = pair.target_from_draft[[30, 3, 12]].tolist()
    undraftable = next(token for token in range(64) if token not in pair.target_from_draft.tolist())
    cut = cut_vocabulary(pair, count_tokens([frequent, frequent, [undraftable] * 9]), 3)
    kept = cut.target_from_draft.tolist()
    assert kept == sorted(frequent)
    for row, target in enumerate(kept):
        before = pair.target_from_draft.tolist().index(target)
        assert torch.equal(cut.drafter_weights[HEAD][row], pair.drafter_weights[HEAD][before])
    assert cut.drafter.draft_vocab_size == 3
    assert len(pair.target_from_draft) == 40  # the given pair is as it was


def test_the_whole_vocabulary_cut_is_the_same_pair(pair: ModelPair) -> None:
    whole = cut_vocabulary(pair, {}, len(pair.target_from_draft))
    assert torch.equal(whole.target_from_draft, pair.target_from_draft)
    assert torch.equal(whole.drafter_weights[HEAD], pair.drafter_weights[HEAD])


def test_the_fastest_operators_win_and_fused_ones_win_ties() -> None:
    from tests.bench.made import MadeDecoder

    def decoders(seconds: dict[frozenset[str], float]) -> Any:
        def of(eager: frozenset[str]) -> tuple[MadeDecoder, MadeDecoder]:
            each = seconds.get(eager, 1.0)
            return MadeDecoder("greedy", each), MadeDecoder("speculative", each / 2)

        return of

    quick = EAGER - {"norm"}
    assert choose_kernels(decoders({quick: 0.5}), PROMPT).eager == quick
    assert choose_kernels(decoders({quick: 0.99}), PROMPT).eager == frozenset()
    assert {frozenset(), EAGER} <= set(options())
