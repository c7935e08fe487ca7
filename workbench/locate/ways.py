"""One row of logits in several ways: in the tree, in a chain, alone, by prefill; fused and eager."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from tracing.errors import UsageError
from tracing.moment import Moment
from tracing.stages import DecodePath, Drafted, NullWatch, Tensorized, Verified
from workbench.judge.ancestry import ancestors
from workbench.judge.measured import measure
from workbench.judge.triangle import MEANINGS
from workbench.locate.scene import Subject, scene_at
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.lockstep.tensors.host import host_floats

IN_THE_RUN: Final = "tree, cache of the run"
TREE: Final = "tree, fresh cache"
CHAIN: Final = "chain of its ancestors"
ONE_ROW: Final = "one row"
REPREFILL: Final = "prefill"
AS_CHAIN: Final = {
    True: "as a chain of the same rows it is right: what makes it a tree is wrong (mask, packing)",
    False: "as a chain it is wrong and alone it is right: the forward of several rows is wrong",
}
"""Where the row is wrong in the tree and right alone: whether it is right as a chain, to one sentence."""
LAST: Final = 4
"""Rows at the end of a context that a chain runs, where there is no tree."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of computing the row.

    Attributes:
        name: E.g. `one row`.
        num_rows: Rows of the forward that gave it.
        error: Variant to the largest error, in units of what is allowed; None where it could not be run.
    """

    name: str
    num_rows: int
    error: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Ways:
    """A row in all ways.

    Attributes:
        ways: What was computed.
        meaning: Variant to one sentence.
    """

    moment: Moment
    ways: tuple[Way, ...]
    meaning: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        ways = [asdict(way) for way in self.ways]
        return {"moment": str(self.moment), "ways": ways, "meaning": dict(self.meaning)}


def ways_of(subject: Subject, variants: Mapping[str, DecodePath], moment: Moment) -> Ways | None:
    """Compute the logits of one row in every way that a path has; None for a stage without such rows.

    Args:
        subject: The path under test; its run gives the tree and the context.
        variants: Name to path; each computes all ways but the one in the run from a fresh cache.
        moment: Of verify, with a node, or of prefill, whose last row it is then.

    Raises:
        UsageError: The decode does not come to that moment.
    """
    if moment.stage not in ("prefill", "verify"):
        return None
    scenes = {name: _scene(replace(subject, path=path), moment) for name, path in variants.items()}
    scene = next(iter(scenes.values()))
    if scene is None:
        return None
    tree: Tensorized | None = scene.results.tensorized
    context, last, node = list(scene.prompt), LAST, moment.node or 0
    if moment.stage == "verify":
        if tree is None:
            return None
        path = [*ancestors(tree.parents, node)[::-1], node]
        context, last = [*scene.turn_state.committed, *tree.token_ids[path].tolist()], len(path)
    before = context[: max(len(context) - last, 1)]
    asked = _Asked(subject, variants, scenes, node)
    ways: dict[str, tuple[int, Callable[[str], Any]]] = {}
    if tree is not None:
        ways[IN_THE_RUN] = len(tree.token_ids), asked.in_the_run
        ways[TREE] = len(tree.token_ids), partial(asked.tree, before, tree)
    ways |= {
        CHAIN: (len(context) - len(before), partial(asked.chain, before, context[len(before) :])),
        ONE_ROW: (1, partial(asked.chain, context[:-1], context[-1:])),
        REPREFILL: (len(context), partial(asked.prefilled, context)),
    }
    own = {name: {way: _tried(run, name) for way, (_, run) in ways.items()} for name in variants}
    error = _errors(subject, context, own)
    made = tuple(
        Way(way, rows, {name: error[name].get(way) for name in variants}) for way, (rows, _) in ways.items()
    )
    return Ways(moment, made, {name: _meaning(error[name]) for name in variants})


def _scene(subject: Subject, moment: Moment) -> Any:
    try:
        return scene_at(subject, moment, wanted=lambda _: False)
    except UsageError:
        return None


@dataclass(frozen=True, slots=True)
class _Asked:
    """Runs the ways of each variant."""

    subject: Subject
    variants: Mapping[str, DecodePath]
    scenes: Mapping[str, Any]
    node: int

    def in_the_run(self, name: str) -> Any:
        """Return what verify gave when the path decoded up to there."""
        return host_floats(self.scenes[name].results.verified.logits)[self.node]

    def tree(self, context: Sequence[int], tree: Tensorized, name: str) -> Any:
        """Verify the run's tree over a fresh prefill."""
        return self._verified(name, context, tree)[self.node]

    def chain(self, context: Sequence[int], token_ids: Sequence[int], name: str) -> Any:
        """Verify tokens as a tree of width 1 over a fresh prefill."""
        number = len(token_ids)
        drafted = Drafted(
            token_ids=np.asarray(token_ids, np.int64),
            parents=np.maximum(np.arange(number) - 1, 0),
            logprobs=np.zeros(number, np.float32),
        )
        return self._verified(name, context, self.subject.runner.tensorize(drafted, len(context), number))[-1]

    def prefilled(self, context: Sequence[int], name: str) -> Any:
        """Prefill all tokens."""
        return host_floats(self._fresh(name).call("prefill", list(context)).logits).reshape(-1)

    def _verified(self, name: str, context: Sequence[int], tree: Tensorized) -> Any:
        fresh = self._fresh(name)
        fresh.call("prefill", list(context))
        verified: Verified = fresh.call("verify", tree)
        return host_floats(verified.logits)

    def _fresh(self, name: str) -> PathUnderTest:
        user_code = self.subject.user_code
        return PathUnderTest.begin(self.variants[name], NullWatch(), user_code=user_code)


def _tried(run: Callable[[str], Any], name: str) -> Any:
    try:
        return run(name)
    except Exception:  # noqa: BLE001  a port may not be able to run a chain, or one row; then that way is left out
        return None


def _errors(
    subject: Subject, tokens: Sequence[int], own: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Measure every row against the reference's prefill of the same tokens, in units of what is allowed."""
    runner = subject.runner
    rows = [each.logits[-1] for each in runner.prefill(tokens)]
    while more := runner.more(len(rows) - 1):
        rows += [each.logits[-1] for each in runner.prefill(tokens, more)]
    truth, *samples = (host_floats(each).reshape(1, -1) for each in rows)

    def ratio(row: Any) -> float:
        measured = measure("", row.reshape(1, -1), truth, tuple(samples), subject.dtype)
        with np.errstate(invalid="ignore", divide="ignore"):
            largest = measured.error / measured.allowance.largest
            both = np.fmax(largest, measured.error_rms / measured.allowance.rms)
        return float(both[0]) if measured.finite[0] else float("inf")

    return {
        name: {way: ratio(row) for way, row in ways.items() if row is not None and row.size == truth.size}
        for name, ways in own.items()
    }


def _meaning(error: Mapping[str, float]) -> str:
    right = {way: ratio <= 1 for way, ratio in error.items()}
    wrong = [way for way in right if not right[way]]
    if not wrong:
        return "every way is right" if right else "no way could be run"
    if len(wrong) == len(right):
        return MEANINGS[False, False, False][1]
    if wrong == [IN_THE_RUN]:
        return "only in the run it is wrong: its cache held other rows than a fresh one, by what ran before"
    if not {IN_THE_RUN, ONE_ROW, REPREFILL} <= set(right):
        return f"wrong: {', '.join(wrong)}"
    if CHAIN in right and not right[IN_THE_RUN] and right[ONE_ROW]:
        return AS_CHAIN[right[CHAIN]]
    return MEANINGS[right[IN_THE_RUN], right[ONE_ROW], right[REPREFILL]][1]
