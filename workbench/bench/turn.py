"""One turn decoded by both sides: what was measured, as a value and as one line of JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from workbench.lockstep.choice.decoders import Decoded

MatchKind = Literal["equal", "near_tie", "different"]
"""The same text; a different one that rounding explains; a different one, whose speed does not count."""


@dataclass(frozen=True, slots=True)
class BenchCase:
    """A context to decode.

    Attributes:
        prompt_id, turn: Which turn of the suite.
        name: Name of the prompt in its suite, e.g. `code-07` or `HumanEval/12`.
        kind: `code`, `chat`, `length` ...
        token_ids: The context.
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
    """Both sides of one turn.

    Attributes:
        case: What was decoded; without its token ids when read back from disk.
        num_prompt_tokens: Length of the context.
        repetition: From 0.
        first: Which side went first, `baseline` or `speculative`.
    """

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

    def as_json(self) -> dict[str, Any]:
        """Return plain data; the speculative text only where it differs."""
        same = self.baseline.token_ids == self.speculative.token_ids
        return {
            "prompt_id": self.case.prompt_id,
            "turn": self.case.turn,
            "repetition": self.repetition,
            "name": self.case.name,
            "kind": self.case.kind,
            "prompt_tokens": self.num_prompt_tokens,
            "first": self.first,
            "match": self.match.kind,
            "position": self.match.position,
            "why": self.match.why,
            "baseline": _side_json(self.baseline),
            "speculative": _side_json(self.speculative)
            | {"num_accepted": list(self.speculative.num_accepted)},
            "token_ids": list(self.baseline.token_ids),
            "speculative_token_ids": None if same else list(self.speculative.token_ids),
        }

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> TurnResult:
        """Read what `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: Something else was written there.
        """
        token_ids = tuple(line["token_ids"])
        other = line["speculative_token_ids"]
        return cls(
            case=BenchCase(line["prompt_id"], line["turn"], line["name"], line["kind"], ()),
            num_prompt_tokens=line["prompt_tokens"],
            repetition=line["repetition"],
            first=line["first"],
            baseline=_side_from_json(line["baseline"] | {"num_accepted": ()}, token_ids),
            speculative=_side_from_json(line["speculative"], token_ids if other is None else tuple(other)),
            match=Match(line["match"], line["position"], line["why"]),
        )


def _side_json(decoded: Decoded) -> dict[str, Any]:
    return {
        "tokens": len(decoded.token_ids),
        "seconds": decoded.seconds,
        "first_token_seconds": decoded.first_token_seconds,
    }


def _side_from_json(side: dict[str, Any], token_ids: tuple[int, ...]) -> Decoded:
    times = {name: side[name] for name in ("seconds", "first_token_seconds")}
    return Decoded(token_ids=token_ids, num_accepted=tuple(side["num_accepted"]), **times)
