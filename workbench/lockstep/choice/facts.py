"""What is known of a request before it is decoded: length, repetition, how sure the teacher is, class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy as np

from tracing.stages import FloatArray

REPEATS_OVER: Final = 512
"""Tokens at the end of a prompt in which repeated n-grams are counted."""
FirstLogits = Callable[[Sequence[int]], FloatArray]
"""Logits `[V]` of the token after some tokens; what it costs is the probe's overhead."""


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """Facts of one request; None where nobody looked.

    Attributes:
        prompt_tokens: Length of the prompt.
        overlap: Share of its last n-grams that stand in it before.
        entropy: Of the teacher's law of the first token, in nats.
        label: Class of the request; None if the probe was not sure, or there is none.
        label_entropy: Of the law over the labels, in nats.
    """

    prompt_tokens: int
    overlap: float = 0.0
    entropy: float | None = None
    label: str | None = None
    label_entropy: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


class Probe(Protocol):
    """Looks at a request. Whatever is asked of it may be called once a request, before it is decoded."""

    def look(self, prompt_token_ids: Sequence[int], facts: PromptFacts) -> PromptFacts:
        """Return the facts with those that this probe adds."""
        ...


@dataclass(frozen=True, slots=True)
class EntropyProbe:
    """Entropy of the first token, from the end of the prompt alone, so that a long prompt costs no more.

    Attributes:
        first_logits: Of the teacher.
        last_tokens: How much of the prompt it is given.
    """

    first_logits: FirstLogits
    last_tokens: int

    def look(self, prompt_token_ids: Sequence[int], facts: PromptFacts) -> PromptFacts:
        """Add `entropy`."""
        law = softmax(self.first_logits(prompt_token_ids[-self.last_tokens :]))
        return _with(facts, entropy=entropy_of(law))


@dataclass(frozen=True, slots=True)
class LabelProbe:
    """Class of a request: a checkpoint is asked, in a template, and only its logits of the labels are read.

    Attributes:
        first_logits: Of the probe's checkpoint.
        before, after: Tokens of the template around the prompt.
        labels: Label to the token that stands for it, one each.
        gate: Largest entropy over the labels, in nats, at which the best label is believed.
        last_tokens: How much of the prompt it is given.
    """

    first_logits: FirstLogits
    before: tuple[int, ...]
    after: tuple[int, ...]
    labels: dict[str, int]
    gate: float
    last_tokens: int

    def look(self, prompt_token_ids: Sequence[int], facts: PromptFacts) -> PromptFacts:
        """Add `label` and `label_entropy`."""
        asked = [*self.before, *prompt_token_ids[-self.last_tokens :], *self.after]
        logits = self.first_logits(asked)
        law = softmax(logits[list(self.labels.values())])
        entropy = entropy_of(law)
        sure = entropy <= self.gate  # NaN is not
        return _with(
            facts, label=list(self.labels)[int(law.argmax())] if sure else None, label_entropy=entropy
        )


@dataclass(frozen=True, slots=True)
class Probes:
    """All probes of a policy, in order.

    Attributes:
        ngram: Length of the n-grams that are counted.
        more: Probes that run a model.
    """

    ngram: int = 3
    more: tuple[Probe, ...] = ()

    def count(self, prompt_token_ids: Sequence[int]) -> PromptFacts:
        """Return what the prompt itself says."""
        return PromptFacts(len(prompt_token_ids), overlap_of(prompt_token_ids, self.ngram))

    def look(self, prompt_token_ids: Sequence[int], facts: PromptFacts | None = None) -> PromptFacts:
        """Return what all of them say."""
        facts = facts or self.count(prompt_token_ids)
        for probe in self.more:
            facts = probe.look(prompt_token_ids, facts)
        return facts


def overlap_of(token_ids: Sequence[int], ngram: int, over: int = REPEATS_OVER) -> float:
    """Return which share of the n-grams that end in the last tokens of a text stand in it before.

    That is how often a lookup of the n - 1 tokens before a place finds the token that stands there.
    """
    ends = range(max(ngram, len(token_ids) - over + 1), len(token_ids) + 1)
    if not ends:
        return 0.0
    text = tuple(token_ids)
    seen = {text[end - ngram : end] for end in range(ngram, ends.start)}
    repeated = 0
    for end in ends:
        one = text[end - ngram : end]
        repeated += one in seen
        seen.add(one)
    return repeated / len(ends)


def softmax(logits: FloatArray) -> FloatArray:
    """Return the law of logits `[n]`, in float64."""
    wide = np.asarray(logits, dtype=np.float64)
    powers = np.exp(wide - wide.max())
    law: FloatArray = powers / powers.sum()
    return law


def entropy_of(law: FloatArray) -> float:
    """Return the entropy of a law in nats."""
    some = law[law > 0]
    return float(-(some * np.log(some)).sum()) if np.isfinite(law).all() else float("nan")


def _with(facts: PromptFacts, **more: Any) -> PromptFacts:
    return PromptFacts(**{**asdict(facts), **more})
