"""Texts of a closed engine: what a record says of itself, and the verdict over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tracing.finding import Finding
from tracing.moment import Moment
from workbench.judge.rules import RULES
from workbench.judge.verdict import EXIT_CODES

FINISH_REASONS: Final = ("stop", "length", "stop_string", "abort")
"""Why an engine ended a text: an end token (in the text or left out), the limit, a string, a failure."""
MAX_LISTED: Final = 1000
"""Findings and near ties that are listed; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRecord:
    """One prompt and what an engine made of it.

    Attributes:
        number: From 0, in the order of the file.
        name: The engine's own id of it, or empty.
        prompt_token_ids, output_token_ids: As the engine had them.
        accepted: Accepted drafts of each step, the token that follows them not counted; None: not known.
        finish_reason: One of `FINISH_REASONS`, or None.
        max_new_tokens: The limit, or None.
        ignore_eos: Whether end tokens do not end the text.
        stop_token_ids: Tokens that end it besides those of the teacher.
    """

    number: int
    prompt_token_ids: tuple[int, ...]
    output_token_ids: tuple[int, ...]
    name: str = ""
    accepted: tuple[int, ...] | None = None
    finish_reason: str | None = None
    max_new_tokens: int | None = None
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()

    def __str__(self) -> str:
        """Return how messages call it."""
        return f"prompt {self.number}" + (f" ({self.name})" if self.name else "")

    def ends(self, eos_token_ids: Collection[int]) -> frozenset[int]:
        """Return the tokens that end this text."""
        return frozenset(() if self.ignore_eos else eos_token_ids) | frozenset(self.stop_token_ids)

    def finding(self, rule: str, position: int, message: str, **values: Any) -> Finding:
        """Return a finding about the token at `position`; the moment's step is that position."""
        return Finding(
            verdict=RULES[rule].verdict,
            guilty="fused",
            moment=Moment(self.number, 0, position),
            column="emitted_token_ids",
            rule=rule,
            message=f"{self}: {message}",
            **values,
        )


@dataclass(frozen=True, slots=True)
class TextTie:
    """A token that is not the true choice, and proven to be as good within rounding."""

    number: int
    position: int
    token_id: int
    best: int
    gap: float
    allowance: float


@dataclass(frozen=True, slots=True)
class JudgedText:
    """What was found in one text.

    Attributes:
        num_tokens: Choices that were judged: tokens, and an end that the teacher had to choose.
        findings: First by position.
        near_ties: Proven ones.
        not_checked: What could not be judged of it.
    """

    num_tokens: int
    findings: tuple[Finding, ...] = ()
    near_ties: tuple[TextTie, ...] = ()
    not_checked: tuple[str, ...] = ()


def record_findings(record: TextRecord, eos_token_ids: Collection[int]) -> Iterator[Finding]:
    """Yield what a record shows without the teacher: its end, its limit, its accepted counts."""
    output, ends = record.output_token_ids, record.ends(eos_token_ids)
    inside = next((place for place, token in enumerate(output[:-1]) if token in ends), None)
    if inside is not None:
        message = (
            f"token {inside} is {output[inside]}, which ends the text, and {len(output)} tokens are there"
        )
        yield record.finding("JUDGE-TEXT-END", inside, message, fused=len(output), reference=inside + 1)
    limit = record.max_new_tokens
    if limit is not None and len(output) > limit:
        message = f"{len(output)} tokens where the limit is {limit}"
        yield record.finding("JUDGE-TEXT-END", limit, message, fused=len(output), reference=limit)
    if limit is not None and record.finish_reason == "length" and len(output) < limit:
        message = f"said to end at its limit of {limit}, after {len(output)} tokens"
        yield record.finding("JUDGE-TEXT-END", len(output), message, fused=len(output), reference=limit)
    if record.accepted is not None and not fits(record, ends):
        total = sum(record.accepted) + len(record.accepted)
        message = (
            f"{len(record.accepted)} steps with {sum(record.accepted)} accepted drafts give {total} tokens, "
            f"or one more with that of prefill; the text has {len(output)}"
        )
        yield record.finding("JUDGE-TEXT-ACCEPTED", 0, message, fused=total, reference=len(output))


def fits(record: TextRecord, ends: Collection[int]) -> bool:
    """Whether accepted counts fit the length: each step gives its accepted drafts and one token.

    The first token may be prefill's. The last step of a text that was cut may have given more than is there.
    """
    counts, length = record.accepted or (), len(record.output_token_ids)
    if any(count < 0 for count in counts):
        return False
    total = sum(counts) + len(counts)
    extra = total - length
    is_full = record.max_new_tokens is not None and length >= record.max_new_tokens
    is_cut = is_full or record.finish_reason is not None
    is_cut = is_cut or bool(length and record.output_token_ids[-1] in ends)
    most = counts[-1] if counts and is_cut else 0
    return any(0 <= extra + prefill <= most for prefill in (0, 1))


def place_in_steps(record: TextRecord, position: int) -> str:
    """Return which token of which step a position is; empty where that is not known."""
    counts, length = record.accepted, len(record.output_token_ids)
    if not counts:
        return ""
    total = sum(counts) + len(counts)
    if total not in (length, length - 1):
        return ""
    place = position - (length - total)
    if place < 0:
        return "the token of prefill"
    for step, count in enumerate(counts):
        if place < count:
            return f"accepted draft {place + 1} of {count} of step {step}"
        if place == count:
            return f"the token after {count} accepted drafts of step {step}"
        place -= count + 1
    return ""


def end_to_judge(record: TextRecord, eos_token_ids: Collection[int]) -> str:
    """Return how the end is judged: `known` needs no teacher, `choice` is the teacher's, else why not."""
    output, limit = record.output_token_ids, record.max_new_tokens
    if output and output[-1] in record.ends(eos_token_ids):
        return "known"
    if limit is not None and len(output) >= limit:
        return "known"
    if record.finish_reason == "stop":
        return "choice" if record.ends(eos_token_ids) else "said to stop, and no token ends a text here"
    if record.finish_reason == "length":
        return "known" if limit is not None else "said to end at a limit, which is not given"
    if record.finish_reason is None:
        return "neither finish_reason nor max_new_tokens says why it ended"
    return f"ended by {record.finish_reason}"


@dataclass(slots=True)
class TextsTally:
    """Folds text after text; its size does not grow with their number."""

    num_texts: int = 0
    num_tokens: int = 0
    num_wrong: int = 0
    num_findings: int = 0
    num_near_ties: int = 0
    findings: list[Finding] = field(default_factory=list)
    near_ties: list[TextTie] = field(default_factory=list)
    not_checked: Counter[str] = field(default_factory=Counter)

    def add(self, judged: JudgedText) -> None:
        """Add one text."""
        self.num_texts += 1
        self.num_tokens += judged.num_tokens
        self.num_wrong += bool(judged.findings)
        self.num_findings += len(judged.findings)
        self.num_near_ties += len(judged.near_ties)
        self.findings += judged.findings[: MAX_LISTED - len(self.findings)]
        self.near_ties += judged.near_ties[: MAX_LISTED - len(self.near_ties)]
        self.not_checked.update(judged.not_checked)

    @property
    def verdict(self) -> str:
        """One of `tracing.finding.VERDICTS`; without a judged token it is `inconclusive`."""
        if self.num_findings:
            return "structural"
        if not self.num_tokens or UNJUDGED in self.not_checked:
            return "inconclusive"
        return "near_tie" if self.num_near_ties else "ok"

    @property
    def exit_code(self) -> int:
        """Of the verdict."""
        return EXIT_CODES[self.verdict]


UNJUDGED: Final = "tokens that the teacher cannot judge"
"""Among what is not checked, this leaves no `ok`."""
