"""Problems: target and draft laws on a small vocabulary, as fractions, and how the drafts come about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, get_args

from tracing.errors import UsageError

TokenPath = tuple[int, ...]
"""Tokens after the root; `()` is the root itself."""
TokenLaw = tuple[Fraction, ...]
"""Probability of each token, `[V]`, sums to 1."""
Drafts = Literal["fixed", "top", "sampled", "distinct"]
DRAFTS: Final[tuple[Drafts, ...]] = get_args(Drafts)
MAX_VOCAB: Final = 64
MAX_DEPTH: Final = 8


@dataclass(frozen=True)
class Problem:
    """One step of speculative decoding on which a verifier's law can be computed.

    Attributes:
        vocab: Tokens, V.
        depth: Levels of the tree; a step emits at most `depth + 1` tokens.
        target: Law after each path of at most `depth` tokens, after warping.
        draft: Law that the drafter has after each path of less than `depth` tokens; may be empty for `fixed`.
        drafts: `fixed`: the tree is given, the verifier gets no draft law; `top`: the tree is given, as of a
            drafter that takes the most likely tokens, and the verifier gets the draft law; `sampled`: every
            child is drawn from the draft law on its own; `distinct`: without replacement.
        tree: Children of each path, for a given tree.
        width: Children of each path, for a drawn one.
    """

    name: str
    vocab: int
    depth: int
    target: Mapping[TokenPath, TokenLaw]
    draft: Mapping[TokenPath, TokenLaw]
    drafts: Drafts
    tree: Mapping[TokenPath, tuple[int, ...]]
    width: int = 1

    @property
    def is_drawn(self) -> bool:
        """Whether the drafts are drawn by chance."""
        return self.drafts in ("sampled", "distinct")

    @property
    def is_chain(self) -> bool:
        """Whether no node has two children."""
        return self.width == 1 if self.is_drawn else all(len(each) <= 1 for each in self.tree.values())

    @property
    def gives_draft_law(self) -> bool:
        """Whether the verifier is told the draft law."""
        return self.drafts != "fixed"

    def at_temperature_0(self) -> Problem:
        """Return the problem with target laws that are certain of their most likely token."""
        target = {
            path: tuple(Fraction(int(token == law.index(max(law)))) for token in range(len(law)))
            for path, law in self.target.items()
        }
        return replace(self, target=target)

    def drawn(self, drafts: Drafts, width: int = 1) -> Problem:
        """Return the same laws with drafts that come about in another way."""
        return replace(self, drafts=drafts, width=width, name=f"{self.name}_{drafts}{width}")


def as_law(values: Sequence[Any]) -> TokenLaw:
    """Return a law from fractions, strings such as `1/3`, or numbers, divided by their sum.

    Raises:
        UsageError: No probabilities, or all zero.
    """
    try:
        numbers = [Fraction(value) for value in values]
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        raise UsageError(f"a law is a list of probabilities such as 1/3 or 0.25, not {values!r}") from None
    if not numbers or min(numbers) < 0 or not any(numbers):
        raise UsageError(f"a law has no negative entry and at least one positive, not {values!r}")
    return tuple(number / sum(numbers) for number in numbers)


def as_path(text: str) -> TokenPath:
    """Return the path of comma-joined token ids; the empty text is the root."""
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"a path is comma-joined token ids, such as 2,0, not {text!r}") from None


def problem_from(data: Any, drafts: Drafts | None = None, width: int | None = None) -> Problem:
    """Return the problem of parsed JSON: `vocab`, `depth`, `target`, and `draft`, `tree`, `drafts`, `width`.

    Raises:
        UsageError: A part is missing or contradicts another; the sentence names it.
    """
    if not isinstance(data, dict) or not {"target", "depth"} <= data.keys():
        raise UsageError("a problem is a JSON object with at least depth and target (path to law)")
    target = {as_path(path): as_law(law) for path, law in data["target"].items()}
    draft = {as_path(path): as_law(law) for path, law in (data.get("draft") or {}).items()}
    tree = {as_path(path): tuple(int(t) for t in row) for path, row in (data.get("tree") or {}).items()}
    wanted = drafts or data.get("drafts") or ("fixed" if tree else "sampled")
    problem = Problem(
        name=str(data.get("name", "problem")),
        vocab=int(data.get("vocab") or len(next(iter(target.values()), ()))),
        depth=int(data["depth"]),
        target=target,
        draft=draft,
        drafts=wanted,
        tree=tree,
        width=int(width or data.get("width") or 1),
    )
    _refuse_gaps(problem)
    return problem


def read_problems(file: Path, drafts: Drafts | None = None, width: int | None = None) -> tuple[Problem, ...]:
    """Return the problems of a JSON file: one object, a list of them, or an object with a list `problems`.

    Raises:
        UsageError: The file cannot be read as such.
    """
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read as JSON: {error}") from None
    if isinstance(data, dict) and "problems" in data:
        data = data["problems"]
    every = data if isinstance(data, list) else [data]
    if not every:
        raise UsageError(f"{file} has no problem in it")
    return tuple(problem_from(each, drafts, width) for each in every)


def _refuse_gaps(problem: Problem) -> None:
    """Say which law is missing or too short, before a verifier runs into it."""
    if problem.drafts not in DRAFTS:
        raise UsageError(f"drafts is one of {', '.join(DRAFTS)}, not {problem.drafts!r}")
    if not 1 <= problem.vocab <= MAX_VOCAB or not 1 <= problem.depth <= MAX_DEPTH or problem.width < 1:
        raise UsageError(
            f"problem {problem.name}: vocab 1 to {MAX_VOCAB}, depth 1 to {MAX_DEPTH} and width from 1 on "
            f"can be enumerated, not {problem.vocab}, {problem.depth} and {problem.width}"
        )
    if problem.is_drawn and () not in problem.draft:
        raise UsageError(f"problem {problem.name}: drafts that are drawn need the draft law of every path")
    if not problem.is_drawn and () not in problem.tree:
        raise UsageError(f"problem {problem.name}: {problem.drafts} drafts need a tree (path to children)")
    for kind, laws in (("target", problem.target), ("draft", problem.draft)):
        for path, law in laws.items():
            if len(law) != problem.vocab:
                raise UsageError(
                    f"problem {problem.name}: the {kind} law after {path} has {len(law)} entries, vocab is "
                    f"{problem.vocab}"
                )
    for path, children in problem.tree.items():
        if any(not 0 <= token < problem.vocab for token in children) or len(path) >= problem.depth:
            raise UsageError(
                f"problem {problem.name}: children {children} after {path} do not fit vocab and depth"
            )


def law_after(laws: Mapping[TokenPath, TokenLaw], path: TokenPath, problem: Problem) -> TokenLaw:
    """Return one law.

    Raises:
        UsageError: The problem has none after this path.
    """
    try:
        return laws[path]
    except KeyError:
        raise UsageError(f"problem {problem.name} has no law after the path {path}") from None
