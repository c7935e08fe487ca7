"""Sampled steps that look wrong and are legal, one for each rule about sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from invariants.examples import CONTEXT, Before, Tree, legal_step
from invariants.families.sampling import decisions, draws, logprobs, support
from invariants.mutation import Case
from tracing.philox import LARGEST_UNIFORM
from tracing.run_facts import SamplingSettings

TREE = Tree([0, 0, 0, 1, 1, 3], [7, 5, 6, 8, 9, 11], [5, 8, 3, 61, 4, 9], num_pads=2)


def step() -> Case:
    row = legal_step(TREE, Before())
    return Case(row, CONTEXT, None, row)


def requests(case: Case, **each: SamplingSettings) -> Case:
    return case.in_run(acceptance="match", request_sampling=each)


def settings_as_float32() -> Case:
    """A temperature that float32 rounds, and an engine's -1 for no top-k."""
    made = step().edited(request_id="a", row_temperature=float(np.float32(0.7)), row_top_k=-1, row_seed=3)
    return requests(made, a=SamplingSettings(temperature=0.7, seed=3, acceptance="match"))


def greedy_among_sampled() -> Case:
    return requests(step().edited(request_id="g"), g=SamplingSettings())


def draw_on_the_border() -> Case:
    """A draw that float32 puts on either side of the chance."""
    made = decisions.sampled(step())
    node = made.accepted[0]
    at = int(np.flatnonzero(made.row["draws"] == 0.25)[0])
    return made.poked("draws", at, float(made.row["target_probs"][node]) * (1 + 2.0**-22))


def token_of_another_branch() -> Case:
    """The final token is the token of a node, but of no child of the last accepted one."""
    case = step().uncut
    token = int(case.row["token_ids"][2])
    made = case.poked("emitted_token_ids", -1, token).edited(final_token_id=token)
    return made.in_run(acceptance="eagle")


def probabilities_in_float32() -> Case:
    made = support.sampled(step())
    return made.edited(target_probs=made.row["target_probs"] * np.float32(1 + 2.0**-20), draws=None)


def logprobs_in_bfloat16() -> Case:
    """Rounded to eight bits."""
    made = logprobs.with_logprobs(step())
    return made.edited(emitted_logprobs=made.row["emitted_logprobs"] * np.float32(1 - 2.0**-8))


NEAR_MISSES: dict[str, Callable[[], Case]] = {
    "SAMP001": lambda: step().edited(draws=np.array([0.0, LARGEST_UNIFORM])).in_run(acceptance="match"),
    "SAMP002": lambda: draws.seeded(step(), seed=-5, position=2**40),
    "SAMP003": settings_as_float32,
    "SAMP004": greedy_among_sampled,
    "SAMP005": draw_on_the_border,
    "SAMP006": token_of_another_branch,
    "SAMP007": lambda: support.sampled(step()),
    "SAMP008": probabilities_in_float32,
    "SAMP009": lambda: support.sampled(step()),
    "SAMP010": logprobs_in_bfloat16,
}


def sampled_among_greedy() -> Case:
    """Its final token is no greedy choice, in a run whose other requests are greedy."""
    case = step().uncut
    token = case.other_token(case.row["final_token_id"])
    made = case.poked("emitted_token_ids", -1, token).edited(final_token_id=token)
    requests = {"g": SamplingSettings(), "s": SamplingSettings(temperature=0.8, acceptance="rejection")}
    return made.edited(request_id="s", row_temperature=0.8).in_run(request_sampling=requests)


def other_engines() -> dict[str, Case]:
    """Legal forms of other engines: their order of draws, fewer columns, no settings at all."""
    by_node = decisions.sampled(step(), "rejection")
    uniforms = np.full(len(by_node.row["valid"]), 0.99)
    uniforms[by_node.accepted] = 0.25
    order = SamplingSettings(temperature=1.0, acceptance="rejection", draw_order="node")
    few = ("target_probs", "draft_probs", "row_temperature", "target_top_ids", "target_top_logits")
    return {
        "one uniform a node": replace(
            by_node.edited(draws=uniforms), context=replace(by_node.context, request_sampling={"": order})
        ),
        "uniforms of drafts alone": by_node.edited(draws=np.full(len(by_node.drafts), 0.5)),
        "few columns": by_node.edited(**dict.fromkeys(few)),
        "no facts of requests": decisions.sampled(step()).in_run(request_sampling={}),
        "a request that samples among greedy ones": sampled_among_greedy(),
        "a row that samples, nothing stated": sampled_among_greedy().in_run(request_sampling={}),
        "a cut step": decisions.sampled(step()).edited(stop_reason="length"),
    }
