"""Faults of sampling: laws, draws, what a rejection leaves, and drafts that are not what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch

from workbench.faults.fault import fault
from workbench.faults.placement import on_function
from workbench.fused.drafters import drawn
from workbench.fused.sampling import base, residual
from workbench.fused.sampling.base import Decided, Sampled
from workbench.fused.sampling.decide import token_of
from workbench.fused.sampling.posterior import EaglePosterior

Function = Callable[..., Any]
PROBS: Final = ("JUDGE-ACCEPT-PROBS", "JUDGE-PREFILL-ROOT", "JUDGE-ACCEPT-FINAL", "SAMP008")
WRONG: Final = ("JUDGE-ACCEPT-NODES", "JUDGE-ACCEPT-FINAL", "JUDGE-DRAW-COUNT")
"""Another path, or another token; where a draft is accepted in error, other draws are taken as well."""
DECISION: Final = (*WRONG, "SAMP005", "SAMP006", "SAMP007", "SAMP009")
DRAWN: Final = ("JUDGE-DRAFT-DRAWN", "JUDGE-DRAFT-LAW")
law_fault: Final = partial(
    fault, stage="accept", noticed_by=PROBS, placed=on_function(base, "laws"), need="sampled"
)
decision_fault: Final = partial(fault, stage="accept", noticed_by=DECISION, need="sampled")
on_eagle: Final = on_function(EaglePosterior, "decide")


@law_fault("F-SAMP-01", "DeepSpec#31", "eagle posterior in the logits' dtype")
def softmax_in_bfloat16(original: Function, logits: Any, settings: Any) -> Any:
    """The law is computed in bfloat16, off by one part in 512."""
    return original(logits, settings).bfloat16().float()


@law_fault("F-SAMP-02", "rows of a batch whose settings are not moved with them")
def temperature_of_another_request(original: Function, logits: Any, settings: Any) -> Any:
    """Logits are divided by the temperature of another request."""
    return original(logits, replace(settings, temperature=settings.temperature * 0.7))


@law_fault("F-SAMP-03", "samplers of engines")
def top_k_one_too_many(original: Function, logits: Any, settings: Any) -> Any:
    """Top-k keeps one token more than was asked for."""
    return original(logits, replace(settings, sampling_top_k=settings.sampling_top_k + 1))


@law_fault("F-SAMP-04", "repetition penalties over drafted tokens")
def penalty_that_depends_on_the_path(original: Function, logits: Any, settings: Any) -> Any:
    """A penalty on the choice of the row before makes a node's law depend on others of the tree."""
    penalised = logits.clone()
    penalised[1:].scatter_(-1, logits[:-1].argmax(dim=-1, keepdim=True), -torch.inf)
    return original(penalised, settings)


@decision_fault("F-SAMP-05", "sgl#35771", "sgl#35798", placed=on_function(base, "accepts"))
def accepted_where_the_draw_equals(_: Function, draw: float, probability: float) -> bool:
    """A draft is accepted where the draw is at most its probability: at 0 what has no probability too."""
    return draw <= probability


@decision_fault("F-SAMP-06", "Medusa's nucleus acceptance", placed=on_eagle)
def whole_law_after_a_rejection(original: Function, sampled: Sampled) -> Decided:
    """The token after a rejection is drawn from the whole law, the rejected tokens included."""
    made: Decided = original(None, sampled)
    return replace(made, token_id=token_of(sampled.taken[-1], sampled.law[made.path[-1]]))


@decision_fault("F-SAMP-07", "eagle#47", placed=on_eagle)
def bonus_from_an_earlier_law(original: Function, sampled: Sampled) -> Decided:
    """The final token is drawn from the law of the node before the last one."""
    made: Decided = original(None, sampled)
    before = made.path[-2] if len(made.path) > 1 else 0
    return replace(made, token_id=token_of(sampled.taken[-1], sampled.law[before]))


@decision_fault("F-SAMP-08", "samplers that draw once a step", placed=on_eagle)
def one_draw_for_two_decisions(original: Function, sampled: Sampled) -> Decided:
    """The draw that rejected a draft also draws the token in its place."""
    made: Decided = original(None, sampled)
    rest = sampled.law[made.path[-1]].clone()
    rest[[int(sampled.tree.token_ids[child]) for child in sampled.children(made.path[-1])]] = 0
    reused = sampled.taken[-2] if len(sampled.taken) > 1 else sampled.taken[-1]
    return replace(made, token_id=token_of(reused, rest)) if made.is_recovered and float(rest.sum()) else made


@decision_fault("F-SAMP-09", "residuals that are used as they are", placed=on_function(base, "token_of"))
def residual_not_normalised(_: Function, draw: float, law: Any) -> int:
    """The draw is looked up in what is left of the law as if that were whole: beyond it, the last token."""
    below = law.double().cpu().cumsum(dim=0)
    return min(int(torch.searchsorted(below, draw, right=True)), len(below) - 1)


@fault(
    "F-SAMP-10",
    "DeepSpec#31",
    stage="draft",
    noticed_by=DRAWN,
    placed=on_function(drawn, "laws"),
    need="drawn",
)
def drafted_at_another_temperature(original: Function, logits: Any, settings: Any) -> Any:
    """Drafts are drawn from the drafter's law at temperature 1, whatever the request's."""
    return original(logits, replace(settings, temperature=1.0))


@fault(
    "F-SAMP-11",
    "xllm pull request 2175",
    stage="draft",
    noticed_by=DRAWN,
    placed=on_function(drawn, "token_of"),
    need="drawn",
)
def drafted_greedily_accepted_with_p_over_q(_: Function, draw: float, law: Any) -> int:  # noqa: ARG001  not needed
    """Drafts are the drafter's best tokens, and are accepted as if they had been drawn."""
    return int(law.argmax())


@fault(
    "F-SAMP-12",
    "acceptance with p over q",
    stage="accept",
    noticed_by=DECISION,
    placed=on_function(residual, "positive"),
    need="drawn",
)
def whole_law_in_place_of_the_residual(_: Function, rest: Any, otherwise: Any) -> Any:  # noqa: ARG001  not needed
    """After a rejection the token comes from p, not from what p has beyond q."""
    return otherwise
