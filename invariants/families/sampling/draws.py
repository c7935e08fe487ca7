"""Draws: in their interval, of their seed, and as many as there is use for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import Flags, prefilter
from invariants.rule import FloatArray, NotApplicableError, Violation, Violations, invariant
from tracing.philox import GENERATORS
from tracing.run_facts import SamplingSettings


@invariant("SAMP001", stage="accept")
def draw_outside_the_unit_interval(draws: FloatArray) -> Violations:
    """A recorded draw is not a number in [0, 1).

    ## What it does
    Checks every entry of `draws`.

    ## Why it matters
    A draw of 1 takes a token past the end of the law, or none; NaN compares false with everything, so nothing
    is ever accepted.

    ## Example
    `draws = [0.25, 1.0]` from a generator of (0, 1].

    ## Seen in
    Uniforms in (0, 1] are what the common CUDA generator gives.

    ## Limits
    None.
    """
    for place, draw in enumerate(draws.tolist()):
        if not 0 <= draw < 1:
            yield Violation(f"draw {place} is {draw}, not in [0, 1)", "draws", found=str(draw))
            return


@invariant("SAMP002", stage="accept", requires=("SAMP001",))
def draws_of_another_seed(
    draws: FloatArray,
    row_seed: int,
    draw_position: int,
    request_sampling: Mapping[str, SamplingSettings],
    request_id: str | None = None,
) -> Violations:
    """The draws of a step are not those of its seed at their place.

    ## What it does
    Recomputes each draw from `row_seed`, its place and the generator that the manifest names (Philox 4x32-10
    in the forms of `tracing.philox`), and compares them as float32.

    ## Why it matters
    A run that is asked to be repeatable is not; or two requests share draws, and their texts depend on each
    other.

    ## Example
    Row 3 of a batch takes the uniforms of row 2 after a request has left.

    ## Seen in
    Seeds per request that are indexed by the row of an earlier batch.

    ## Limits
    Needs a counter-based generator, named by the request's facts, and `draw_position`.
    """
    stated = request_sampling.get(request_id or "", request_sampling.get(""))
    if stated is None or not stated.generator:
        raise NotApplicableError("no generator is stated for the draws")
    if draw_position < 0 or not len(draws):
        raise NotApplicableError("no draw was taken, or none of the seed")
    expected = GENERATORS[stated.generator](row_seed, draw_position + np.arange(len(draws), dtype=np.int64))
    wrong = np.flatnonzero(expected.astype(np.float32) != np.asarray(draws).astype(np.float32))
    if len(wrong):
        place = int(wrong[0])
        message = f"draw {place} is {draws[place]:.9g}; seed {row_seed} gives {expected[place]:.9g} at place "
        message += f"{draw_position + place} ({len(wrong)} of {len(draws)} differ)"
        yield Violation(message, "draws", found=float(draws[place]), expected=float(expected[place]))


@prefilter("SAMP001")
def _outside(draws: Ragged) -> Flags:
    with np.errstate(invalid="ignore"):
        return draws.any_step(~((draws.values >= 0) & (draws.values < 1)))


def seeded(case: Case, seed: int = 11, position: int = 4) -> Case:
    """Return the case as sampled with draws of a seed."""
    taken = GENERATORS["philox"](seed, position + np.arange(3))
    sampling = SamplingSettings(temperature=1.0, seed=seed, acceptance="match", generator="philox")
    made = case.edited(draws=taken, row_seed=seed, draw_position=position)
    return made.in_run(acceptance="match", request_sampling={"": sampling})


def _one_too_large(case: Case, _: Pick) -> Case:
    return seeded(case).edited(draw_position=None).poked("draws", 1, 1.0)


def _of_another_request(case: Case, _: Pick) -> Case:
    other = GENERATORS["philox"](12, 4 + np.arange(3))
    return seeded(case).edited(draws=other)


def _shifted(case: Case, _: Pick) -> Case:
    return seeded(case).edited(draw_position=5)


MUTATIONS: Final[Changes] = {
    "SAMP001 draw-of-one": _one_too_large,
    "SAMP002 draws-of-another-request": _of_another_request,
    "SAMP002 draws-shifted": _shifted,
}
