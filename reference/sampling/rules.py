"""The acceptance rules, each by its definition, in one obvious order of decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from reference.sampling.medusa import nucleus, typical
from reference.sampling.questions import YES, Asking, Law, LawTree, Question, Rule, RuleOutcome, yes_or_no


def eagle(tree: LawTree) -> Asking:
    """EAGLE's posterior: each child with the teacher's law; a rejected one is zeroed, the rest renormalised.

    Exact for any tree that does not depend on the draws of acceptance. Of equal children the first counts.
    """
    path = [0]
    while True:
        law, accepted = tree.target(path[-1]), None
        children = list(_distinct(tree, path[-1]))
        for child in children:
            token_id = tree.token_ids[child]
            if (yield Question(yes_or_no(law[token_id]), child)) == YES:
                accepted = child
                break
            law = without(law, token_id)
        if accepted is None:
            token_id = yield Question(law, path[-1], what="final")
            return RuleOutcome(tuple(path), token_id, is_recovered=bool(children))
        path.append(accepted)


def match(tree: LawTree) -> Asking:
    """Draw from the teacher's law at each node, and follow the tree while a child holds the token."""
    path = [0]
    while True:
        token_id = yield Question(tree.target(path[-1]), path[-1], what="final")
        same = [child for child in tree.below(path[-1]) if tree.token_ids[child] == token_id]
        if not same:
            return RuleOutcome(tuple(path), token_id)
        path.append(same[0])


def _residual_rule(next_draft: Callable[[Law, int], Law]) -> Rule:
    """Children drawn from the draft's law, accepted with min(1, p/q), residual max(p - q, 0)."""

    def asking(tree: LawTree) -> Asking:
        path = [0]
        while True:
            law, accepted = tree.target(path[-1]), None
            children = tree.below(path[-1])
            draft = tree.draft(path[-1]) if children else law
            for child in children:
                token_id = tree.token_ids[child]
                if (yield Question(yes_or_no(_ratio(law[token_id], draft[token_id])), child)) == YES:
                    accepted = child
                    break
                law, draft = residual(law, draft), next_draft(draft, token_id)
            if accepted is None:
                token_id = yield Question(law, path[-1], what="final")
                return RuleOutcome(tuple(path), token_id, is_recovered=bool(len(children)))
            path.append(accepted)

    return asking


def block(tree: LawTree) -> Asking:
    """Block verification of a chain (Sun et al., 2403.10444): one decision a place, the last yes counts."""
    chain = [0]
    while tree.below(chain[-1]):
        chain.append(tree.below(chain[-1])[0])
    weight, weights, accepted = 1.0, [1.0], 0
    for place, node in enumerate(chain[1:], start=1):
        token_id, above = tree.token_ids[node], chain[place - 1]
        weight = min(weight * _quotient(tree.target(above)[token_id], tree.draft(above)[token_id]), 1.0)
        weights.append(weight)
        chance = weight
        if place < len(chain) - 1:
            left = float(np.maximum(weight * tree.target(node) - tree.draft(node), 0).sum())
            chance = left / (left + 1 - weight) if left + 1 - weight > 0 else 1.0
        if (yield Question(yes_or_no(chance), node)) == YES:
            accepted = place
    node, law = chain[accepted], tree.target(chain[accepted])
    is_recovered = accepted < len(chain) - 1
    if is_recovered:
        law = residual(weights[accepted] * law, tree.draft(node), otherwise=law)
    token_id = yield Question(law, node, what="final")
    return RuleOutcome(tuple(chain[: accepted + 1]), token_id, is_recovered)


def without(law: Law, token_id: int) -> Law:
    """Return a law without a token, renormalised; unchanged where nothing would be left."""
    rest = law.copy()
    rest[token_id] = 0.0
    total = rest.sum()
    return rest / total if total > 0 else law


def residual(law: Law, draft: Law, otherwise: Law | None = None) -> Law:
    """Return max(law - draft, 0), renormalised; where nothing is left, `otherwise` or the law."""
    rest = np.maximum(law - draft, 0)
    total = rest.sum()
    return rest / total if total > 0 else (law if otherwise is None else otherwise)


def _distinct(tree: LawTree, node: int) -> Iterator[int]:
    seen = set()
    for child in tree.below(node):
        if tree.token_ids[child] not in seen:
            seen.add(tree.token_ids[child])
            yield child


def _quotient(probability: float, draft_probability: float) -> float:
    """Return p/q; a token that the draft could not draw is worth nothing, or all if the teacher has it."""
    if draft_probability > 0:
        return float(probability / draft_probability)
    return np.inf if probability > 0 else 0.0


def _ratio(probability: float, draft_probability: float) -> float:
    return min(_quotient(probability, draft_probability), 1.0)


_SAME: Final = _residual_rule(lambda draft, _: draft)
RULES: Final[Mapping[str, Rule]] = {
    "eagle": eagle,
    "match": match,
    "rejection": _SAME,
    "specinfer": _SAME,
    "rsd": _residual_rule(without),
    "block": block,
    "medusa_typical": typical,
    "medusa_nucleus": nucleus,
}
"""Acceptance to its rule; `rejection` is `specinfer` on chains."""
