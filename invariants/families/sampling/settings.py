"""Settings belong to the request, and greedy requests of a mixed batch stay greedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from invariants.laws import chosen_by, sampling_of
from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import Flags, prefilter
from invariants.rule import IntArray, NotApplicableError, Violation, Violations, invariant
from tracing.run_facts import SamplingSettings

OF_ROW: Final = ("row_temperature", "row_top_k", "row_top_p", "row_seed")


@invariant("SAMP003", stage="accept", optional=OF_ROW)
def settings_of_another_request(
    request_sampling: Mapping[str, SamplingSettings], request_id: str | None = None, **given: Any
) -> Violations:
    """The sampler was given other settings than the request has.

    ## What it does
    Compares `row_temperature`, `row_top_k`, `row_top_p` and `row_seed` with the request's in the manifest.

    ## Why it matters
    After a request has left a batch, tables of settings that are not moved with the rows give each request
    its neighbour's temperature: fluent text, and the wrong law.

    ## Example
    Request `b` asks for temperature 0.2 and is sampled at 1.0, that of request `a`.

    ## Seen in
    Persistent batches whose rows are condensed.

    ## Limits
    Compares what is recorded, as float32. A top-k of 0, of -1 or of the whole vocabulary is none.
    """
    stated = sampling_of(request_sampling, request_id)
    if stated is None:
        raise NotApplicableError("no sampling settings are stated for the request")
    asked = {
        "row_temperature": stated.temperature,
        "row_top_k": stated.top_k,
        "row_top_p": stated.top_p,
        "row_seed": stated.seed,
    }
    seen = [name for name in OF_ROW if given.get(name) is not None and asked[name] is not None]
    if not seen:
        raise NotApplicableError("no setting of the sampler is recorded")
    for name in seen:
        came, law = given[name], asked[name]
        if name == "row_top_k" and (came <= 0 or not law):
            same = came <= 0 and not law
        elif name == "row_seed":
            same = int(came) == law
        else:
            same = bool(np.float32(came) == np.float32(law))
        if not same:
            message = f"the sampler was given {name} {came:g}, the request has {law:g}"
            yield Violation(message, name, found=came, expected=law)


@invariant("SAMP004", stage="accept", requires=("ACC001",))
def greedy_request_sampled(
    *,
    accepted_nodes: IntArray,
    parents: IntArray,
    token_ids: IntArray,
    target_token_ids: IntArray,
    final_token_id: int,
    acceptance: str = "greedy",
    row_temperature: float | None = None,
    request_sampling: Mapping[str, SamplingSettings] | None = None,
    request_id: str | None = None,
) -> Violations:
    """A request of temperature 0 in a sampling batch does not get the teacher's choices.

    ## What it does
    Where the run samples and the request (or its row) has temperature 0, checks that accepted tokens and the
    final one are the teacher's choices.

    ## Why it matters
    One kernel serves greedy and sampling rows by a mask; a wrong mask samples the greedy ones, and a test of
    a uniform batch never shows it.

    ## Example
    Temperature 0, the choice after the root is 5, and the step emits 9.

    ## Seen in
    Ascend: greedy and probabilistic proposals mixed up in one batch (xllm pull request 2175).

    ## Limits
    Runs that are greedy as a whole are looked at by ACC002 to ACC004.
    """
    if acceptance == "greedy":
        raise NotApplicableError("the whole run is greedy")
    chosen = chosen_by(request_sampling, request_id, acceptance, row_temperature=row_temperature)
    if not chosen.is_greedy:
        raise NotApplicableError("the request is not known to be greedy")
    last = 0
    for node in accepted_nodes.tolist():
        choice = int(target_token_ids[parents[node]])
        if token_ids[node] != choice:
            message = f"greedy: accepted node {node} has token {token_ids[node]}, the choice is {choice}"
            yield Violation(message, "accepted_nodes", node, found=int(token_ids[node]), expected=choice)
            return
        last = node
    choice = int(target_token_ids[last])
    if final_token_id != choice:
        message = f"greedy: the final token is {final_token_id}, the choice after node {last} is {choice}"
        yield Violation(message, "final_token_id", last, found=int(final_token_id), expected=choice)


@prefilter("SAMP003")
def _temperature_given(row_temperature: Any) -> Flags:  # noqa: ARG001  every such step is looked at
    return True


@prefilter("SAMP003")
def _top_k_given(row_top_k: Any) -> Flags:  # noqa: ARG001  likewise
    return True


@prefilter("SAMP003")
def _top_p_given(row_top_p: Any) -> Flags:  # noqa: ARG001  likewise
    return True


@prefilter("SAMP002", "SAMP003")
def _seed_given(row_seed: Any) -> Flags:  # noqa: ARG001  likewise
    return True


@prefilter("SAMP004", "SAMP005", "SAMP006", "SAMP007", "SAMP009")
def _where_some_sample(
    accepted_nodes: Any,  # noqa: ARG001  any step
    acceptance: str = "greedy",
    request_sampling: Mapping[str, SamplingSettings] | None = None,
) -> Flags:
    return acceptance != "greedy" or any(each.temperature > 0 for each in (request_sampling or {}).values())


def _of_two_requests(case: Case, **row: Any) -> Case:
    requests = {
        "": SamplingSettings(temperature=1.0, top_k=5, top_p=0.5, seed=1, acceptance="match"),
        "a": SamplingSettings(temperature=0.5, seed=2, acceptance="match"),
        "g": SamplingSettings(),
    }
    return case.edited(request_id="a", **row).in_run(acceptance="match", request_sampling=requests)


def _greedy_row_sampled(case: Case, _: Pick) -> Case:
    token = case.other_token(case.row["final_token_id"])
    made = case.uncut.poked("emitted_token_ids", -1, token).edited(final_token_id=token)
    return _of_two_requests(made).edited(request_id="g")


def _by_its_row_alone(case: Case, _: Pick) -> Case:
    token = case.other_token(case.row["final_token_id"])
    made = case.uncut.poked("emitted_token_ids", -1, token).edited(final_token_id=token, row_temperature=0.0)
    return made.in_run(acceptance="match")


MUTATIONS: Final[Changes] = {
    "SAMP003 temperature-of-another": lambda case, _: _of_two_requests(case, row_temperature=1.0),
    "SAMP003 top-k-of-another": lambda case, _: _of_two_requests(case, row_top_k=5),
    "SAMP003 top-p-of-another": lambda case, _: _of_two_requests(case, row_top_p=0.5),
    "SAMP003 seed-of-another": lambda case, _: _of_two_requests(case, row_seed=1),
    "SAMP004 greedy-request-sampled": _greedy_row_sampled,
    "SAMP004 greedy-row-sampled": _by_its_row_alone,
}
