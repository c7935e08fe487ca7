"""One turn decoded by all sides: what was measured, as values and as one line of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from workbench.lockstep.choice.decoders import Decoded

MatchKind = Literal["equal", "near_tie", "different"]
"""The same text; a different one that rounding explains; a different one, whose speed does not count."""


BASELINE: Final = "baseline"
"""The name of teacher-only decoding among the sides."""


@dataclass(frozen=True, slots=True)
class BenchCase:
    """A context to decode.

    Attributes:
        name: Name of the prompt in its suite, e.g. `code-07` or `HumanEval/12`.
        kind: `code`, `chat`, `length` ...
    """

    prompt_id: int
    turn: int
    name: str
    kind: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """Whether two texts are the same.

    Attributes:
        position: Emitted token at which they differ, None where they do not.
        why: One sentence where they differ.
    """

    kind: MatchKind
    position: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """Teacher-only decoding and one proposer on one turn; those of one turn share the baseline.

    Attributes:
        case: What was decoded; without its token ids when read back from disk.
        repetition: From 0.
        first: Which side went first: `BASELINE` or a proposer.
    """

    proposer: str

    case: BenchCase
    num_prompt_tokens: int
    repetition: int
    first: str
    baseline: Decoded
    speculative: Decoded
    match: Match

    @property
    def key(self) -> tuple[int, int, int]:
        """Prompt, turn and repetition."""
        return self.case.prompt_id, self.case.turn, self.repetition

    @property
    def counts(self) -> bool:
        """Whether the text is the teacher's own, so that its speed may be counted."""
        return self.match.kind != "different"

    @property
    def speedup(self) -> float:
        """Tokens per second, speculative over baseline."""
        return self.speculative.tokens_per_second / self.baseline.tokens_per_second


def turn_json(results: Sequence[TurnResult]) -> dict[str, Any]:
    """Return the sides of one turn as plain data; a proposer's text only where it differs."""
    one = results[0]
    return {
        "prompt_id": one.case.prompt_id,
        "turn": one.case.turn,
        "repetition": one.repetition,
        "name": one.case.name,
        "kind": one.case.kind,
        "prompt_tokens": one.num_prompt_tokens,
        "first": one.first,
        "token_ids": list(one.baseline.token_ids),
        "baseline": _side_json(one.baseline),
        "proposers": {result.proposer: _proposer_json(result) for result in results},
    }


def turn_from_json(line: dict[str, Any]) -> list[TurnResult]:
    """Read what `turn_json` wrote.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: Something else was written there.
    """
    token_ids = tuple(line["token_ids"])
    baseline = _side_from_json(line["baseline"] | {"num_accepted": ()}, token_ids)
    return [
        TurnResult(
            proposer=proposer,
            case=BenchCase(line["prompt_id"], line["turn"], line["name"], line["kind"], ()),
            num_prompt_tokens=line["prompt_tokens"],
            repetition=line["repetition"],
            first=line["first"],
            baseline=baseline,
            speculative=_side_from_json(
                side, token_ids if side["token_ids"] is None else tuple(side["token_ids"])
            ),
            match=Match(side["match"], side["position"], side["why"]),
        )
        for proposer, side in line["proposers"].items()
    ]


def _proposer_json(result: TurnResult) -> dict[str, Any]:
    same = result.baseline.token_ids == result.speculative.token_ids
    return _side_json(result.speculative) | {
        "num_accepted": list(result.speculative.num_accepted),
        "choice": result.speculative.choice,
        "match": result.match.kind,
        "position": result.match.position,
        "why": result.match.why,
        "token_ids": None if same else list(result.speculative.token_ids),
    }


def _side_json(decoded: Decoded) -> dict[str, Any]:
    return {
        "tokens": len(decoded.token_ids),
        "seconds": decoded.seconds,
        "first_token_seconds": decoded.first_token_seconds,
        "processor_seconds": decoded.processor_seconds,
    }


def _side_from_json(side: dict[str, Any], token_ids: tuple[int, ...]) -> Decoded:
    times = {name: side[name] for name in ("seconds", "first_token_seconds")}
    return Decoded(
        token_ids=token_ids,
        num_accepted=tuple(side["num_accepted"]),
        choice=side.get("choice"),
        processor_seconds=side.get("processor_seconds"),
        **times,
    )
