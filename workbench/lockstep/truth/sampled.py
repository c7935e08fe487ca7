"""Sampled decisions of a path, verified by its own logits and draws, then by the true logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reference.accept import accept
from reference.sampling import chooser_for
from reference.sampling.chooser import choice_of, host, tree_of
from reference.sampling.questions import Asking, LawTree, Question, Rule, RuleOutcome
from reference.sampling.recorded import Followed, outcomes, roundings
from reference.sampling.rules import RULES
from reference.sampling.warp import Law, law_of
from tracing.draws import DrawTape
from tracing.sampling import Choice
from tracing.settings import DecodeSettings
from tracing.stages import Accepted, FloatArray, IntArray, Prefilled, Tensorized, Verified
from workbench.judge.draw_ties import DrawTie

if TYPE_CHECKING:
    from workbench.lockstep.truth.reference_runner import ReferenceRunner


@dataclass(frozen=True, slots=True)
class SampledTruth:
    """What the draws of a path give.

    Attributes:
        accepted: The recorded outcome where it is lawful, else the one that the draws give.
        ties: Decisions of the recorded outcome that only rounding explains.
    """

    accepted: Accepted
    ties: tuple[DrawTie, ...] = ()


@dataclass(frozen=True, slots=True)
class RootTruth:
    """The first root of a turn, how many draws it takes, and a near tie if it is one."""

    token_id: int
    num_draws: int = 0
    ties: tuple[DrawTie, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """What cuts a path: tokens that may still be emitted, and those that end a turn."""

    remaining: int
    eos_token_ids: frozenset[int]


def choose_root(
    runner: ReferenceRunner, logits: Any, draws: Sequence[float], recorded: int | None = None
) -> RootTruth:
    """Return the first root of a turn from logits `[V]`.

    Greedy, or sampled from the draws of the path, or fresh ones; the recorded root where rounding allows it.
    """
    if runner.settings.acceptance in RULES:
        return verified_root(runner.settings, logits, draws, recorded)
    tape = DrawTape.recorded(draws, seed=0)
    chooser = chooser_for(runner.settings, tape)
    root = int(logits.argmax()) if chooser is None else chooser.root(logits)
    return RootTruth(root, tape.num_used)


def root_of(
    runner: ReferenceRunner, prefilled: Prefilled, true_logits: Any, draws: Sequence[float]
) -> RootTruth:
    """Return the root by the true logits `[V]`, or where it is sampled by the path's own and its draws."""
    if runner.settings.is_greedy:
        return RootTruth(int(host(true_logits).argmax()))
    return choose_root(runner, prefilled.logits, draws, int(prefilled.context_token_ids[-1]))


def accept_by(
    runner: ReferenceRunner,
    tensorized: Tensorized,
    verified: Verified,
    remaining: int,
    draws: Sequence[float],
    *,
    recorded: Accepted | None = None,
    true_logits: Sequence[Any] = (),
) -> SampledTruth:
    """Return the accepted path over the path's own logits; given the draws of the path, or fresh ones.

    Args:
        runner: The reference.
        tensorized: As the path gave it.
        verified: As the path gave it.
        remaining: Tokens that may still be emitted.
        draws: Of the path.
        recorded: What the path accepted; followed where rounding explains it.
        true_logits: The truth and samples of the logits, each `[N, V]`.
    """
    settings, eos_token_ids = runner.settings, runner.truth.pair.eos_token_ids
    if settings.acceptance in RULES:
        rows = {"own": verified.logits, "true": true_logits}
        return verified_outcome(
            settings, tensorized, TurnEnd(remaining, eos_token_ids), draws, recorded, **rows
        )
    tape = DrawTape.recorded(draws, seed=0)
    chooser = chooser_for(settings, tape)
    given = (tensorized, verified.target_token_ids, remaining, eos_token_ids)
    if chooser is None:
        return SampledTruth(runner.stages.accept(*given))
    accepted = runner.stages.accept(*given, chooser.accept(tensorized, verified))
    return SampledTruth(replace(accepted, draws=tape.used_since(0)))


def verified_outcome(
    settings: DecodeSettings,
    tree: Tensorized,
    turn: TurnEnd,
    draws: Sequence[float],
    recorded: Accepted | None,
    *,
    own: Any,
    true: Sequence[Any] = (),
) -> SampledTruth:
    """Verify a recorded acceptance.

    Args:
        settings: Rule and warping.
        tree: As it was verified, with the law of its drafts.
        turn: What cuts the path.
        draws: That accept took; fresh ones follow where they do not suffice.
        recorded: What the path accepted, or None.
        own: The path's logits, `[N, V]`, or None where they are not known.
        true: The true logits and samples of them, each `[N, V]`, or none.
    """
    rule, tape = RULES[settings.acceptance], DrawTape.recorded(draws, seed=0)
    cut = _Cut(settings, tree, turn, tape)
    ways = roundings(settings)
    rows = [host(each) for each in true]
    if own is None:
        exact, samples = rows[0], rows[1:]
        return cut.judged(rule, exact, [tree_of(tree, each, settings) for each in samples], recorded)
    logits = host(own)
    by_own = cut.judged(rule, logits, [tree_of(tree, logits, settings, way) for way in ways], recorded)
    if not rows or recorded is None or by_own.ties or not _same(by_own.accepted, recorded):
        return by_own
    samples = [logits, *rows[1:]]
    by_truth = cut.judged(rule, rows[0], [tree_of(tree, each, settings) for each in samples], recorded)
    return replace(by_own, ties=by_truth.ties)


def verified_root(
    settings: DecodeSettings,
    logits: Any,
    draws: Sequence[float],
    recorded: int | None,
    samples: Sequence[Any] = (),
) -> RootTruth:
    """Return the root that a draw gives by logits `[V]`, or the recorded one where rounding allows it.

    Args:
        settings: Warping.
        logits: The path's own, or the true ones.
        draws: Of prefill; the first counts.
        recorded: The path's root, or None.
        samples: Of true logits, each `[V]`; none for the path's own, whose law alone is rounded.
    """

    def rule(tree: LawTree) -> Asking:
        token_id = yield Question(tree.target(0), 0, what="final")
        return RuleOutcome((0,), token_id)

    def made(law: Law) -> LawTree:
        return LawTree([0], {}, lambda _: law, lambda _: law, lambda _: law)

    row, draw = host(logits), _numbered(DrawTape.recorded(draws, seed=0))
    laws = [way(row) for way in roundings(settings)] + [law_of(host(each), settings) for each in samples]
    first: int | None = None
    wanted = () if recorded is None else (recorded,)
    for followed in outcomes(rule, made(law_of(row, settings)), [made(law) for law in laws], draw, wanted):
        token_id = followed.outcome.final_token_id
        if token_id == recorded or recorded is None:
            return RootTruth(token_id, 1, _ties(followed))
        first = token_id if first is None else first
    assert first is not None
    return RootTruth(first, 1)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Makes a path's acceptance of an outcome, cut at the end of a turn."""

    settings: DecodeSettings
    tree: Tensorized
    turn: TurnEnd
    tape: DrawTape

    def judged(
        self, rule: Rule, logits: NDArray[Any], samples: Sequence[LawTree], recorded: Accepted | None
    ) -> SampledTruth:
        """Return the outcome that is the recorded one, with its near ties, or else that of the draws."""
        laws = tree_of(self.tree, logits, self.settings)
        found: Accepted | None = None
        wanted = () if recorded is None else recorded.emitted_token_ids.tolist()
        for followed in outcomes(rule, laws, samples, _numbered(self.tape), wanted):
            made = self._accepted(followed, laws)
            if recorded is None or _same(made, recorded):
                made = replace(made, target_probs=_nearest(recorded, made.target_probs, samples, self.tree))
                return SampledTruth(made, _ties(followed))
            found = made if found is None else found
        assert found is not None
        return SampledTruth(found)

    def _accepted(self, followed: Followed, laws: LawTree) -> Accepted:
        taken = [_numbered(self.tape)(number) for number in range(followed.num_draws)]
        choice: Choice = choice_of(followed.outcome, taken, self.tree, laws, self.settings)
        choices: IntArray = np.zeros(len(self.tree.token_ids), dtype=np.int64)  # a choice needs none
        return accept(self.tree, choices, self.turn.remaining, self.turn.eos_token_ids, choice)


def _nearest(
    recorded: Accepted | None, exact: FloatArray | None, samples: Sequence[LawTree], tree: Tensorized
) -> FloatArray | None:
    """Return the exact probabilities; at the border of top-p that of the sample next to the recorded one."""
    came = None if recorded is None else recorded.target_probs
    if came is None or exact is None:
        return exact
    nearest = exact.copy()
    far = np.flatnonzero(tree.valid & ~np.isclose(came, exact, rtol=2.0**-14, atol=0))
    for node in far[far > 0].tolist():
        parent, token_id = int(tree.parents[node]), int(tree.token_ids[node])
        others = [float(exact[node]), *(float(each.target(parent)[token_id]) for each in samples)]
        nearest[node] = min(others, key=lambda other: abs(other - float(came[node])))
    return nearest


def _same(one: Accepted, other: Accepted) -> bool:
    return one.final_token_id == other.final_token_id and np.array_equal(
        one.accepted_nodes, other.accepted_nodes
    )


def _ties(followed: Followed) -> tuple[DrawTie, ...]:
    return tuple(
        DrawTie(tie.node, tie.answer, tie.expected, tie.gap, tie.allowance, is_token=tie.what == "final")
        for tie in followed.ties
    )


def _numbered(tape: DrawTape) -> Callable[[int], float]:
    """Return the draws of a tape by number."""

    def draw(number: int) -> float:
        while tape.num_used <= number:
            tape.take()
        return tape.values[number]

    return draw
