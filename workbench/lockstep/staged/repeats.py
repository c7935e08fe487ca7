"""The path under test runs stages of a step once more, on copies of its state: same inputs, same bits.

Two kinds of path fail: one that decides by chance, and one that reads what an earlier call left, as a
captured graph does whose input buffers are filled too late. Further repeats tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from workbench.judge.notes import StageJudgement, Unchecked
from workbench.judge.repeat import judge_repeat
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults
from workbench.lockstep.tensors.digests import kv_row_digests
from workbench.lockstep.tensors.host import host_floats, validated

LEADING_UP: Final[Mapping[str, tuple[str, ...]]] = {
    "prefill": ("prefill",),
    "draft": ("draft",),
    "verify": ("draft", "verify"),
}
"""Stages that are run again for a finding of a stage; the others compute nothing in floats."""
GIVEN: Final[Mapping[str, tuple[str, ...]]] = {
    "tensorize": ("drafted",),
    "verify": ("tensorized",),
    "commit": ("tensorized", "verified", "accepted"),
}
"""Stage to the results that it is given, fields of `StepResults`."""
Passes = Callable[[str, StepResults], bool]
"""Whether the judge finds nothing wrong with a stage of these results."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Runs the stages of one step again.

    Attributes:
        before: The path under test as it stood before the step, after its prefill.
        turn_state: The turn, not yet moved on by the step.
        prompt: Token ids of the last prefill.
        results: What the step gave.
        sizes: The dimensions that every result must have.
    """

    before: PathUnderTest
    turn_state: TurnState
    prompt: Sequence[int]
    results: StepResults
    sizes: Mapping[str, int]

    def clean(self, stages: Sequence[str]) -> StageJudgement:
        """Repeat stages of a step in which nothing was found; the first that differs is a finding.

        Args:
            stages: In order; those that the step does not have, or not of the path itself, are left out.
        """
        had = [each for each in stages if each in self.results.done() and self.results.own(each)]
        notes: list[StageJudgement] = []
        for together in (had[: had.count("prefill")], had[had.count("prefill") :]):
            notes += self._compared(together)
            if any(each.findings for each in notes):
                break
        return StageJudgement(
            findings=tuple(finding for each in notes for finding in each.findings),
            checked=tuple(quantity for each in notes for quantity in each.checked),
            not_checked=tuple(missing for each in notes for missing in each.not_checked),
        )

    def of(self, stage: str, passes: Passes) -> tuple[StageJudgement, str]:
        """Repeat a stage with which something is wrong.

        Args:
            stage: The stage.
            passes: Whether other results of it would have been right.

        Returns:
            What repeating it shows, and how its inputs are stale, or an empty string.
        """
        stages = [each for each in LEADING_UP.get(stage, ()) if self.before.provides(each)]
        if stage not in stages:
            return StageJudgement(), ""
        try:
            again = self._run(stages)
        except Exception as error:  # noqa: BLE001  a user's port may raise anything when it runs again
            missing = Unchecked(stage, "repeat", f"the path raised {type(error).__name__}: {error}")
            return StageJudgement(not_checked=(missing,)), ""
        shown = self._difference(stage, again)
        return shown, self._stale(stages, again, passes, differs=bool(shown.findings))

    def _stale(self, stages: list[str], again: StepResults, passes: Passes, *, differs: bool) -> str:
        """Return how the inputs are those of an earlier call, where further repeats show it."""
        stage = stages[-1]
        try:
            if differs:
                steady = not judge_repeat(
                    self.turn_state.moment,
                    stage,
                    "fused",
                    values(stage, again),
                    values(stage, self._run(stages)),
                ).findings
                if steady and passes(stage, again):
                    return (
                        f"{stage} is right, and always the same, when it is given the same inputs once more"
                    )
                return ""
            once, twice = self._after_prefill(stages)
            if not passes(stage, once) and passes(stage, twice):
                return (
                    f"after a prefill of the same tokens {stage} is wrong, and right when that is done again"
                )
        except Exception:  # noqa: BLE001  see above; then the finding stays unexplained
            return ""
        return ""

    def _after_prefill(self, stages: list[str]) -> tuple[StepResults, StepResults]:
        """Rebuild the state by prefill and run the stages, twice on one copy."""
        path = self._copy()
        context = list(self.turn_state.committed)
        made = []
        for _ in range(2):
            if "prefill" not in stages:
                path.call("prefill", list(context))
            made.append(self._run(stages, path))
        return made[0], made[1]

    def _compared(self, stages: Sequence[str]) -> Iterator[StageJudgement]:
        """Yield what the repeat of each stage shows, up to the first that differs; all run on one copy."""
        if not stages:
            return
        path, again = self.before.snapshot(), self._empty()
        if path is None:
            missing = tuple(Unchecked(each, "repeat", "the state cannot be copied") for each in stages)
            yield StageJudgement(not_checked=missing)
            return
        for stage in stages:
            try:
                self._call(path, stage, again)
            except Exception as error:  # noqa: BLE001  a user's port may raise anything when it runs again
                reason = f"the path raised {type(error).__name__} when {stage} was repeated: {error}"
                yield StageJudgement(not_checked=(Unchecked(stage, "repeat", reason),))
                return
            shown = self._difference(stage, again)
            yield shown
            if shown.findings:
                return

    def _difference(self, stage: str, again: StepResults) -> StageJudgement:
        one, other = values(stage, self.results), values(stage, again)
        return judge_repeat(self.turn_state.moment, stage, "fused", one, other)

    def _copy(self) -> PathUnderTest:
        copy = self.before.snapshot()
        if copy is None:
            raise LookupError("the state cannot be copied")
        return copy

    def _empty(self) -> StepResults:
        return StepResults(committed_len=self.results.committed_len, draws=self.results.draws)

    def _run(self, stages: Sequence[str], path: PathUnderTest | None = None) -> StepResults:
        path, again = path or self._copy(), self._empty()
        for stage in stages:
            self._call(path, stage, again)
        return again

    def _call(self, path: PathUnderTest, stage: str, again: StepResults) -> None:
        """Run one stage on the values that it was given in the step, and keep what it gives."""
        given: list[Any] = [getattr(self.results, name) for name in GIVEN.get(stage, ())]
        if stage == "prefill":
            given = [list(self.prompt)]
        elif stage == "accept":
            given = [self.results.tensorized, self.results.verified, self.turn_state.remaining]
        # A path that writes into its arguments must not write into what is being judged.
        result = path.call(stage, *deepcopy(given))
        tensorized = self.results.tensorized
        rows = {} if tensorized is None else {"N": len(tensorized.token_ids)}
        again.keep(stage, validated(stage, result, {**self.sizes, "L": again.committed_len, **rows}))
        if stage == "prefill":
            again.prefill_kv = path.rows("main", range(again.committed_len))
        elif stage == "verify" and tensorized is not None:
            tree = range(again.committed_len, again.committed_len + len(tensorized.token_ids))
            again.node_kv = path.rows("branch", tree)
            again.branch_rows = None if again.node_kv is None else kv_row_digests(again.node_kv)
            again.tensorized = tensorized
        elif stage == "commit":
            again.rows_after = path.main_rows(self.results.kept_len)


def values(stage: str, results: StepResults) -> dict[str, Any]:
    """Return what a stage gave, by column, as host arrays; rows of pads are left out."""
    found: dict[str, Any] = {}
    if stage == "prefill" and (prefilled := results.prefilled) is not None:
        found = {"logits": prefilled.logits, "features": prefilled.features, "kv": results.prefill_kv}
    elif stage == "draft" and (drafted := results.drafted) is not None:
        found = {name: getattr(drafted, name) for name in ("token_ids", "parents", "logprobs")}
        found |= {
            f"scores of level {number}": each.scores for number, each in enumerate(drafted.levels or ())
        }
    elif stage == "tensorize" and (built := results.tensorized) is not None:
        names = ("token_ids", "parents", "depths", "position_ids")
        found = {name: getattr(built, name)[built.valid] for name in names}
    elif stage == "verify" and results.verified is not None and results.tensorized is not None:
        valid, verified = results.tensorized.valid, results.verified
        rows = {
            "logits": verified.logits,
            "features": verified.features,
            "kv_row_digests": results.branch_rows,
        }
        found = {name: host_floats(each)[valid] for name, each in rows.items() if each is not None}
    elif stage == "accept" and (accepted := results.accepted) is not None:
        found = {
            name: getattr(accepted, name) for name in ("accepted_nodes", "emitted_token_ids", "path_indices")
        }
    elif stage == "commit":
        found = {"kv_digest_after": results.rows_after}
    return {name: host_floats(each) for name, each in found.items() if each is not None}
