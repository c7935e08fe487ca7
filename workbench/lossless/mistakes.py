"""Known ways to get verification wrong, most of them made in public: each a rule, with where it was seen.

What a verifier under test does wrong is named by the mistake that has the same law on the same problems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any, Final

from workbench.lossless.problem import DRAFTS
from workbench.lossless.rules import (
    AcceptanceRule,
    RuleFunction,
    Weights,
    multi_step,
    positive_part,
    recursive_rejection,
    without,
)
from workbench.lossless.wrong_rules import (
    accept_everything,
    block_by_products,
    bonus_from_the_draft,
    bonus_from_the_residual,
    duplicates_dropped,
    first_at_coin_zero,
    greedy_verification,
    low_precision,
    medusa_nucleus,
    medusa_typical,
    one_child_step,
    one_draw_for_all,
    ratio,
    resample_full_target,
    residual_of_the_row_before,
    usual_residual,
)


def _variant(
    passes: Callable[[Weights, Weights, int], Any], residual: Callable[..., Weights]
) -> RuleFunction:
    return partial(one_child_step, passes=passes, residual=residual)


def _mistake(
    name: str, function: RuleFunction, drafts: Any, summary: str, source: str = "", *, chains: bool = False
) -> AcceptanceRule:
    return AcceptanceRule(name, function, drafts, summary, is_for_chains=chains, source=source)


_WITH_LAW: Final = ("sampled",)

MISTAKES: Final[Mapping[str, AcceptanceRule]] = {
    each.name: each
    for each in (
        _mistake("ratio-on-fixed-drafts", recursive_rejection, ("top",),
                 "drafts that were not drawn, verified with p/q and residual p - q", "dflash#74, xllm#2175"),
        _mistake("original-ratio-on-fixed-drafts", multi_step, ("top",),
                 "the same, with the whole draft law for later siblings"),
        _mistake("resample-full-target", resample_full_target, DRAFTS,
                 "the replacement comes from the whole target law", "Medusa nucleus, on chains and stars"),
        _mistake("medusa-nucleus", medusa_nucleus, ("fixed", "top"),
                 "a draw per row and depth, longest match"),
        _mistake("medusa-typical", partial(medusa_typical, threshold=0.09, alpha=0.3), ("fixed", "top"),
                 "typical acceptance, by design not lossless"),
        _mistake("medusa-typical-0.3", partial(medusa_typical, threshold=0.3, alpha=0.09), ("fixed", "top"),
                 "typical acceptance with the other usual thresholds"),
        _mistake("original-draft-law", multi_step, ("distinct",),
                 "children without replacement, verified with the whole draft law"),
        _mistake("accept-everything", accept_everything, DRAFTS, "every draft passes, as at a draw of 0",
                 "va#13730"),
        _mistake("zero-mass-at-coin-0", first_at_coin_zero, DRAFTS,
                 "a draw of exactly 0 accepts a token of probability 0", "sgl#35771"),
        _mistake("greedy-verification", greedy_verification, DRAFTS,
                 "the most likely token, temperature or not", "sgl#31214"),
        _mistake("one-draw-for-all", one_draw_for_all, _WITH_LAW,
                 "all drafts are compared with the same draw"),
        _mistake("residual-of-the-row-before", residual_of_the_row_before, _WITH_LAW,
                 "the replacement comes from the residual of another row", chains=True),
        _mistake("bonus-from-the-residual", bonus_from_the_residual, _WITH_LAW,
                 "the bonus token comes from a residual", "eagle#47, eagle#50", chains=True),
        _mistake("bonus-from-the-row-before", bonus_from_the_draft, _WITH_LAW,
                 "the bonus token comes from the law of the row before", "sgl#26866", chains=True),
        _mistake("block-by-products", block_by_products, ("sampled", "fixed"),
                 "products of draws where block verification has one draw each", "va#7807", chains=True),
        _mistake("draft-law-in-bfloat16", low_precision, _WITH_LAW,
                 "drafts drawn in one precision and verified in another", "DeepSpec#31"),
        _mistake("duplicates-dropped", duplicates_dropped, _WITH_LAW,
                 "a repeated independent child is not retried", "EAGLE b09a256"),
        _mistake("ratio-upside-down", _variant(lambda p, q, t: ratio(q, p, t), usual_residual),
                 _WITH_LAW, "min(1, q/p) instead of min(1, p/q)"),
        _mistake("accept-with-p", _variant(lambda p, _, t: p[t], usual_residual), _WITH_LAW,
                 "accept with p, replace from max(p - q, 0)"),
        _mistake("residual-upside-down", _variant(ratio, lambda p, q, _: positive_part(q, p)), _WITH_LAW,
                 "the residual is max(q - p, 0)"),
        _mistake("residual-without-draft-law", _variant(ratio, lambda p, _, t: without(p, [t])), _WITH_LAW,
                 "accept with p/q, replace from p without the draft", "va#7603"),
        _mistake("residual-full-target", _variant(ratio, lambda p, *_: p), _WITH_LAW,
                 "accept with p/q, replace from p"),
        _mistake("relaxed-threshold",
                 _variant(lambda p, q, t: ratio(p, q, t) + Fraction(1, 16), usual_residual), _WITH_LAW,
                 "accept at p/q + 1/16", "relaxed acceptance, by design not lossless"),
    )
}  # fmt: skip
"""Mistakes by name."""
