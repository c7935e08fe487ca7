"""One text against the teacher: every token on its own prefix, in one pass, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tracing.errors import UsageError
from tracing.finding import Finding
from workbench.judge.allowance import row_allowances
from workbench.judge.texts import (
    UNJUDGED,
    JudgedText,
    TextRecord,
    TextTie,
    end_to_judge,
    place_in_steps,
    record_findings,
)
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.texts.rows import Floats, TextRows, most_compared
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.view.counted import counted

MAX_REPEATED: Final = 32
UNSURE: Final = "the teacher's own rows are not finite, or two ways to compute them disagree"


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A token that is not the true choice.

    Attributes:
        row: Of the token before it, in prompt and text.
        token_ids: The token; at the end, those that may end the text.
        best, gap: The true choice, and by how much it is better.
        truth: Logits, `[V]`; None while they were not kept.
    """

    row: int
    token_ids: tuple[int, ...]
    best: int
    gap: float
    truth: Floats | None = None


@dataclass(frozen=True, slots=True)
class TextJudge:
    """Judges texts of greedy decoding.

    Attributes:
        runner: The teacher, one precision above the engine and at its own.
        dtype: The engine's.
        eos_token_ids: Tokens that end a text.
        shown: Makes text of a token, for messages.
    """

    runner: ReferenceRunner
    dtype: str
    eos_token_ids: frozenset[int]
    shown: Callable[[int], str] = lambda _: ""

    def __call__(self, record: TextRecord) -> JudgedText:
        """Judge one text.

        Raises:
            UsageError: The prompt has a token outside the vocabulary.
        """
        config, output = self.runner.truth.teacher, record.output_token_ids
        if not all(0 <= token < config.vocab_size for token in record.prompt_token_ids):
            raise UsageError(f"{record}: prompt_token_ids should lie in 0..{config.vocab_size - 1}")
        findings, not_checked = list(record_findings(record, self.eos_token_ids)), []
        inside = next(
            (i for i, token in enumerate(output) if not 0 <= token < config.vocab_size), len(output)
        )
        if inside < len(output):
            message = f"token {inside} is {output[inside]}; the vocabulary has {config.vocab_size}"
            findings.append(record.finding("JUDGE-TEXT-TOKEN", inside, message, fused=output[inside]))
        tokens = (*record.prompt_token_ids, *output[:inside])
        end = end_to_judge(record, self.eos_token_ids)
        if end not in {"known", "choice"}:
            not_checked.append(f"the end: {end}")
        ends = tuple(sorted(self._ends(record))) if end == "choice" and inside == len(output) else ()
        if len(tokens) > config.max_position_embeddings or self.runner.unable:
            reason = self.runner.unable or f"longer than {config.max_position_embeddings} positions"
            return JudgedText(0, tuple(findings), (), (*not_checked, UNJUDGED, reason))
        ties: list[TextTie] = []
        seen = self._walk(record, tokens, ends, findings, ties)
        if seen < inside:
            not_checked += [UNJUDGED, UNSURE]
        findings.sort(key=lambda finding: finding.moment.step)
        return JudgedText(seen, tuple(findings), tuple(ties), tuple(not_checked))

    def _ends(self, record: TextRecord) -> frozenset[int]:
        size = self.runner.truth.teacher.vocab_size
        return frozenset(token for token in record.ends(self.eos_token_ids) if 0 <= token < size)

    def _walk(
        self,
        record: TextRecord,
        tokens: tuple[int, ...],
        ends: tuple[int, ...],
        findings: list[Finding],
        ties: list[TextTie],
    ) -> int:
        """Go from suspect to suspect up to the first wrong token; return how many choices were judged."""
        first = len(record.prompt_token_ids) - 1
        last = len(tokens) - (1 if ends else 2)
        if first > last:
            return 0
        truth, *samples = (TextRows(models, tokens) for models in self.runner.models)
        most = most_compared(self.runner.truth)
        suspects, judged = self._suspects(truth, tokens, (first, last), ends, most)
        for start in range(0, len(suspects), most):
            batch = _with_truth(suspects[start : start + most], truth)
            allowances = self._allowances(tokens, batch, samples)
            for number, (suspect, allowance) in enumerate(zip(batch, allowances, strict=True), start=start):
                place = suspect.row - first
                if not suspect.gap <= allowance:
                    others = len(suspects) - number - 1
                    found = self._finding(record, tokens, suspect, allowance, others)
                    if found is None:
                        return place
                    findings.append(found)
                    return judged
                token = suspect.token_ids[0]
                ties.append(TextTie(record.number, place, token, suspect.best, suspect.gap, allowance))
        return judged

    def _suspects(
        self,
        truth: TextRows,
        tokens: tuple[int, ...],
        span: tuple[int, int],
        ends: tuple[int, ...],
        most: int,
    ) -> tuple[list[_Suspect], int]:
        """Return tokens that are no true choice, the first `most` with logits; and how many were judged."""
        found: list[_Suspect] = []
        judged = 0
        for start, rows in truth.logits(*span):
            bests = rows.argmax(axis=-1)
            for row, best in enumerate(bests.tolist()):
                if not np.isfinite(rows[row]).all():
                    return found, judged
                judged += 1
                given = ends if start + row + 1 == len(tokens) else (tokens[start + row + 1],)
                gap = float(rows[row, best] - rows[row, list(given)].max())
                if gap > 0:
                    kept = rows[row].copy() if len(found) < most else None
                    found.append(_Suspect(start + row, given, best, gap, kept))
        return found, judged

    def _allowances(
        self, tokens: tuple[int, ...], suspects: Sequence[_Suspect], first: Sequence[TextRows]
    ) -> list[float]:
        """Return the largest gap of a near tie at each suspect; samples are drawn until one explains it.

        What the `first` ones have run, all suspects of a text share.
        """
        truth = np.stack([suspect.truth for suspect in suspects if suspect.truth is not None])
        rows = [suspect.row for suspect in suspects]
        samples: list[Floats] = []
        drawn = first
        while True:
            samples += [each.at(rows) for each in drawn]
            largest = 2 * row_allowances(truth, tuple(samples), self.dtype).largest
            if all(each.gap <= limit for each, limit in zip(suspects, largest, strict=True)):
                break
            drawn = [TextRows(models, tokens) for models in self.runner.more(len(samples))]
            if not drawn:
                break
        return [float(limit) for limit in largest]

    def _finding(
        self, record: TextRecord, tokens: tuple[int, ...], suspect: _Suspect, allowance: float, others: int
    ) -> Finding | None:
        """Return the finding of a wrong token; None where a forward of its prefix alone disagrees."""
        place, at_end = suspect.row + 1 - len(record.prompt_token_ids), suspect.row + 1 == len(tokens)
        prefix = tokens[: suspect.row + 1]
        alone = host_floats(self.runner.replayed_prefill(prefix).logits)[-1].astype(np.float64)
        gap = float(alone.max() - alone[list(suspect.token_ids)].max())
        if not gap > allowance:  # also where no sample was finite
            return None
        token = suspect.token_ids[0]
        assert suspect.truth is not None
        rank = int((suspect.truth > suspect.truth[token]).sum()) + 1
        what = f"token {place} is {token}{self.shown(token)}, rank {rank}"
        if at_end:
            what = f"the text ends after {place} tokens"
        better = f"{suspect.best}{self.shown(suspect.best)} is better by {suspect.gap:.3g}"
        message = f"{what}; {better}, rounding allows {allowance:.3g}"
        message += f"; so are {counted(others, 'later token')}" if others else ""
        hints = [place_in_steps(record, place)] if not at_end else []
        hints += [] if at_end else [self._mistake(tokens, suspect)]
        rule = "JUDGE-TEXT-END" if at_end else "JUDGE-TEXT-TOKEN"
        return record.finding(
            rule,
            place,
            message,
            fused=None if at_end else token,
            reference=suspect.best,
            gap=suspect.gap,
            allowance=allowance,
            explanation="; ".join(filter(None, hints)),
        )

    def _mistake(self, tokens: tuple[int, ...], suspect: _Suspect) -> str:
        """Return which standard mistake gives this token, or nothing."""
        at = suspect.row + 1
        for length in range(min(MAX_REPEATED, at, len(tokens) - at), 0, -1):
            if tokens[at : at + length] == tokens[at - length : at]:
                return (
                    f"repeats the {length} tokens before it" if length > 1 else "repeats the token before it"
                )
        ahead = self.runner.prefill((*tokens[:at], suspect.best), (self.runner.truth,))[0]
        if int(host_floats(ahead.logits)[-1].argmax()) == suspect.token_ids[0]:
            return f"follows if {suspect.best} is left out: one token too far"
        return ""


def _with_truth(suspects: Sequence[_Suspect], truth: TextRows) -> Sequence[_Suspect]:
    """Return suspects with the logits of those that have none."""
    if all(each.truth is not None for each in suspects):
        return suspects
    rows = truth.at([each.row for each in suspects])
    return [replace(each, truth=row) for each, row in zip(suspects, rows, strict=True)]
