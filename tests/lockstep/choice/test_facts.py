"""What is known of a request before it is decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tracing.errors import UsageError
from tracing.stages import FloatArray
from workbench.lockstep.choice.facts import (
    EntropyProbe,
    LabelProbe,
    Probes,
    PromptFacts,
    entropy_of,
    overlap_of,
    softmax,
)
from workbench.lockstep.choice.forward import label_probe
from workbench.lockstep.choice.policy import LabelQuestion


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ([], 0.0),
        ([1, 2], 0.0),  # shorter than an n-gram
        ([1, 2, 3, 4, 5], 0.0),
        ([1, 2, 3, 1, 2, 3], 1 / 4),  # 123 231 312 and 123 again
        ([7] * 10, 7 / 8),  # the first one is new
        ([1, 2, 3, 4, 1, 2, 4, 3], 0.0),  # pairs repeat, triples do not
    ],
)
def test_overlap_counts_ngrams_that_stood_before(text: list[int], expected: float) -> None:
    assert overlap_of(text, 3) == pytest.approx(expected)


def test_overlap_looks_at_the_end_of_a_long_prompt_and_remembers_its_start() -> None:
    fresh, start = list(range(100, 200)), [1, 2, 3, 4, 5]
    assert overlap_of([*start, *fresh], 3, over=50) == 0.0
    assert overlap_of([*start, *fresh, *start], 3, over=5) == 3 / 5  # two triples end in both parts
    assert overlap_of([*start, *fresh, *start], 3, over=3) == 1.0  # all three were in the start


def test_entropy_is_that_of_the_law() -> None:
    assert entropy_of(softmax(np.zeros(8))) == pytest.approx(np.log(8))
    assert entropy_of(softmax(np.array([1000.0, 0.0, 0.0]))) == pytest.approx(0.0)
    assert np.isnan(entropy_of(np.array([np.nan, 0.5])))


class Stub:
    """A model whose logits follow from the tokens that it was asked about."""

    def __init__(self, logits: FloatArray) -> None:
        self.logits = logits
        self.asked: list[list[int]] = []

    def __call__(self, token_ids: Sequence[int]) -> FloatArray:
        self.asked.append(list(token_ids))
        return self.logits


def test_the_entropy_probe_asks_about_the_end_alone() -> None:
    stub = Stub(np.zeros(4))
    facts = Probes(3, (EntropyProbe(stub, 2),)).look([5, 6, 7, 8])
    assert stub.asked == [[7, 8]]
    assert facts == PromptFacts(4, 0.0, entropy=pytest.approx(np.log(4)))


@pytest.mark.parametrize(
    ("logits", "label"),
    [
        ([0.0, 9.0, 0.0, 0.0], "code"),
        ([99.0, 0.0, 9.0, 0.0], "chat"),  # the largest logit is no label's
        ([0.0, 1.0, 1.1, 0.0], None),  # not sure
        ([0.0, np.nan, 1.0, 0.0], None),  # nothing at all
    ],
)
def test_a_label_is_believed_only_where_the_probe_is_sure(logits: list[float], label: str | None) -> None:
    stub = Stub(np.array(logits))
    probe = LabelProbe(stub, (40,), (41, 42), {"code": 1, "chat": 2}, gate=0.45, last_tokens=3)
    facts = Probes(3, (probe,)).look([5, 6, 7, 8])
    assert facts.label == label
    assert stub.asked == [[40, 6, 7, 8, 41, 42]]


class Letters:
    """A tokenizer of letters; texts begin with a token of their own."""

    def encode(self, text: str, *, special_tokens: bool = True) -> list[int]:
        return [*([0] if special_tokens else []), *map(ord, text)]


def question(**labels: str) -> LabelQuestion:
    from pathlib import Path

    return LabelQuestion(Path("probe"), "A: ", ".", labels, 0.45)


def test_a_question_becomes_tokens_around_the_prompt() -> None:
    probe = label_probe(question(code="code", chat="talk"), Letters(), Stub(np.zeros(200)), 8)
    assert probe.before == (0, ord("A"), ord(":"), ord(" "))
    assert probe.after == (ord("."),)
    assert probe.labels == {"code": ord("c"), "chat": ord("t")}


def test_labels_that_begin_alike_cannot_be_told_apart() -> None:
    with pytest.raises(UsageError, match="'code'"):
        label_probe(question(code="code", chat="chat"), Letters(), Stub(np.zeros(200)), 8)
