"""The exact law of what a chooser emits on a small tree: every decision is forked, nothing is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import torch

import workbench.fused.sampling.base as fused_base
from reference.sampling.chooser import tree_of
from reference.sampling.questions import Question, Rule, answered
from tracing.draws import DrawTape
from tracing.settings import DecodeSettings
from tracing.stages import Tensorized, Verified
from workbench.fused.sampling import CHOOSERS

Laws = dict[str, list[float]]
Emitted = Counter[str]


@dataclass
class Fork:
    """Answers of one run: those given first, then the first possible ones; goes through all of them."""

    forced: list[int] = field(default_factory=list)
    asked: list[tuple[int, list[float]]] = field(default_factory=list)

    def __call__(self, law: Sequence[float]) -> int:
        place = len(self.asked)
        chances = [float(chance) for chance in law]
        answer = self.forced[place] if place < len(self.forced) else _next(chances, 0)
        self.asked.append((answer, chances))
        return answer

    @property
    def probability(self) -> float:
        return float(np.prod([law[answer] for answer, law in self.asked]))

    def following(self) -> list[int] | None:
        for place in reversed(range(len(self.asked))):
            answer, law = self.asked[place]
            other = _next(law, answer + 1)
            if other >= 0:
                return [each for each, _ in self.asked[:place]] + [other]
        return None


def _next(law: list[float], start: int) -> int:
    return next((answer for answer in range(start, len(law)) if law[answer] > 0), -1)


def every_run(run: Callable[[Fork], str]) -> Emitted:
    """Return the probability of every text that `run` gives."""
    found: Emitted = Counter()
    forced: list[int] | None = []
    while forced is not None:
        fork = Fork(forced)
        text = run(fork)
        found[text] += fork.probability
        forced = fork.following()
    return found


@dataclass
class Problem:
    """A drafted tree: tokens and parents, and the laws after every text."""

    token_ids: list[int]
    parents: list[int]
    target: Laws
    draft: Laws

    def text(self, node: int) -> str:
        return "" if node == 0 else _joined(self.text(self.parents[node]), self.token_ids[node])

    def arrays(self) -> tuple[Tensorized, Verified]:
        num = len(self.token_ids)
        vocab = len(self.target[""])
        laws = [self.target.get(self.text(node), [1 / vocab] * vocab) for node in range(num)]
        drafts = [self.draft.get(self.text(node), [1 / vocab] * vocab) for node in range(num)]
        logits = torch.tensor(laws, dtype=torch.float64).log()
        whole = np.arange(num)
        tree = Tensorized(
            token_ids=np.array(self.token_ids),
            parents=np.array(self.parents),
            depths=whole,
            valid=np.ones(num, dtype=bool),
            position_ids=whole,
            cache_positions=whole,
            visible=np.eye(num, dtype=bool),
            draft_law=torch.tensor(drafts, dtype=torch.float64),
        )
        verified = Verified(
            visible=tree.visible,
            prefix_visible=whole,
            other_visible=whole,
            logits=logits,
            target_token_ids=logits.argmax(-1).numpy(),
            features=logits[:, :0],
        )
        return tree, verified

    def emitted(self, path: Sequence[int], final: int) -> str:
        text = ""
        for token_id in [*(self.token_ids[node] for node in path[1:]), final]:
            text = _joined(text, token_id)
        return text


def law_of_rule(problem: Problem, rule: Rule) -> Emitted:
    """The reference's rule."""
    tree, verified = problem.arrays()
    laws = tree_of(tree, verified.logits.numpy(), DecodeSettings(acceptance="eagle"))

    def run(fork: Fork) -> str:
        def answer(question: Question) -> int:
            return fork(question.law.tolist()) if question.is_drawn else question.by(0.0)

        outcome = answered(rule(laws), answer)
        return problem.emitted(outcome.path, outcome.final_token_id)

    return every_run(run)


def law_of_chooser(problem: Problem, acceptance: str, monkeypatch: Any) -> Emitted:
    """The fused chooser, its two ways to decide replaced by forks."""
    tree, verified = problem.arrays()

    def run(fork: Fork) -> str:
        def accepts(_: float, probability: float) -> bool:
            chance = min(max(probability, 0.0), 1.0)
            return fork([chance, 1 - chance]) == 0

        def token_of(_: float, law: torch.Tensor) -> int:
            return fork((law / law.sum()).tolist())

        monkeypatch.setattr(fused_base, "accepts", accepts)
        monkeypatch.setattr(fused_base, "token_of", token_of)
        settings = DecodeSettings(acceptance=acceptance)
        choice = CHOOSERS[acceptance](settings, DrawTape.seeded(0)).accept(tree, verified)
        return problem.emitted(choice.path.tolist(), choice.final_token_id)

    return every_run(run)


def fixed_tree(case: Any) -> Problem:
    """The fixed tree of a golden problem; nodes level by level."""
    tokens, parents, texts, level = [0], [0], [""], [0]
    while level:
        below = []
        for node in level:
            for token_id in case["tree"].get(texts[node], []):
                tokens.append(token_id)
                parents.append(node)
                texts.append(_joined(texts[node], token_id))
                below.append(len(tokens) - 1)
        level = below
    return Problem(tokens, parents, floats(case["target"]), floats(case["draft"]))


def drawn_trees(
    target: Laws, draft: Laws, depth: int, width: int, *, replace: bool
) -> Iterator[tuple[float, Problem]]:
    """Every tree of `width` children a node that can be drawn, with its probability."""

    def grown(
        tokens: list[int], parents: list[int], level: list[int], left: int
    ) -> Iterator[tuple[float, Problem]]:
        problem = Problem(tokens, parents, target, draft)
        if not left:
            yield 1.0, problem
            return
        families = [_families(draft[problem.text(node)], width, replace=replace) for node in level]
        for chosen in product(*families):
            new_tokens, new_parents, chance = list(tokens), list(parents), 1.0
            for node, (share, family) in zip(level, chosen, strict=True):
                chance *= share
                new_tokens += family
                new_parents += [node] * len(family)
            below = list(range(len(tokens), len(new_tokens)))
            for share, made in grown(new_tokens, new_parents, below, left - 1):
                yield chance * share, made

    yield from grown([0], [0], [0], depth)


def _families(law: list[float], width: int, *, replace: bool) -> list[tuple[float, list[int]]]:
    found = []
    for family in product(range(len(law)), repeat=width):
        share, left = 1.0, 1.0
        for place, token_id in enumerate(family):
            if not replace and token_id in family[:place]:
                share = 0.0
            share *= law[token_id] / left
            left -= 0.0 if replace else law[token_id]
        if share > 0:
            found.append((share, list(family)))
    return found


def mixed(parts: Iterator[tuple[float, Problem]], law: Callable[[Problem], Emitted]) -> Emitted:
    """The law over drawn trees."""
    total: Emitted = Counter()
    for chance, problem in parts:
        for text, share in law(problem).items():
            total[text] += chance * share
    return total


def floats(laws: dict[str, list[str]]) -> Laws:
    return {text: [float(Fraction(each)) for each in law] for text, law in laws.items()}


def gap(found: Emitted, golden: dict[str, str]) -> float:
    """The largest difference of two laws."""
    exact = {text: float(Fraction(share)) for text, share in golden.items()}
    return max(abs(found[text] - exact.get(text, 0.0)) for text in {*found, *exact})


def _joined(text: str, token_id: int) -> str:
    return f"{text},{token_id}" if text else str(token_id)
