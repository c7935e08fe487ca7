"""Which steps are judged by a sample of the reference alone, and when the truth is asked after all.

On a float32 path one sample in float32 decides nearly every row (`workbench.judge.typical`), once typical
errors are known. The truth in float64 runs on the first steps of a turn and now and then, which measures
these, and wherever a sample leaves something open: a row, a choice, a near tie, or anything that was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from workbench.judge.evidence import LevelTruth, StepEvidence
from workbench.judge.measured import as_groups
from workbench.judge.row_truth import Array, RowTruth
from workbench.judge.step import StepJudgement
from workbench.judge.typical import MIN_ROWS, Typical, is_clear, typical_errors
from workbench.lockstep.engine.under_test import StepResults
from workbench.lockstep.truth.reference_runner import ReferenceRunner

DTYPE: Final = "float32"
"""Dtype of a path whose truth costs more than a sample; in half precisions it is the other way round."""
FIRST: Final = (0, 1, 4)
"""Steps of a turn that the truth judges in any case."""
EVERY: Final = 16
"""So are those whose number this divides."""
LEVELS: Final = "draft.levels"
LOGITS: Final = "verify.logits"
NEEDED: Final = {"draft": LEVELS, "verify": LOGITS}
"""Stage to the quantity whose typical errors it cannot do without."""


@dataclass(slots=True)
class SampleFirst:
    """Decides for the steps of one run.

    Attributes:
        runner: The reference.
        known: `stage.quantity` to the least typical errors measured so far.
        steps: Steps of which a stage was judged by a sample alone.
    """

    runner: ReferenceRunner
    known: dict[str, Typical] = field(default_factory=dict)
    steps: int = 0

    def typical(self, stage: str, step: int, results: StepResults) -> dict[str, Typical]:
        """Return the typical errors by which a stage may be judged; none where the truth has to run."""
        if step in FIRST or step % EVERY == 0 or not self._is_able or NEEDED.get(stage) not in self.known:
            return {}
        nodes = results.drafted if stage == "draft" else results.tensorized
        if not results.own(stage) or nodes is None or len(nodes.token_ids) <= MIN_ROWS:
            return {}
        if stage == "draft" and (results.drafted is None or results.drafted.beam_search() is None):
            return {}
        if stage == "draft" and results.drafter_kv is not None and "draft.kv" not in self.known:
            return {}  # too few rows until now
        return {name: each for name, each in self.known.items() if name.startswith(f"{stage}.")}

    @property
    def _is_able(self) -> bool:
        """Whether nothing but rounding at the path's dtype stands between path, sample and truth."""
        runner = self.runner
        return (
            runner.truth_dtype == "float64"
            and runner.stages.rung.name == "cached"
            and runner.settings.is_greedy
            and runner.experts is None
            and not runner.model_facts.cache_dtype
        )

    def learn(self, evidence: StepEvidence, judgement: StepJudgement) -> None:
        """Measure what the truth judged, if nothing was found."""
        if judgement.findings or not self._is_able:
            return
        for name, truth, sample in _measured(evidence):
            typical = typical_errors(truth, sample)
            if typical.is_known:
                self.known[name] = typical.least(self.known.get(name))

    def leaves_open(self, evidence: StepEvidence, judgement: StepJudgement, stages: frozenset[str]) -> bool:
        """Whether the truth has to be asked about a step of which these stages were judged by a sample."""
        if (
            judgement.findings
            or judgement.suspects
            or any(tie.moment.stage in stages for tie in judgement.near_ties)
        ):
            return True
        verify = evidence.verify
        if "verify" in stages and verify is not None and (logits := verify.logits) is not None:
            if logits.truth is None or logits.typical is None:
                return True
            if not is_clear(logits.truth, logits.typical, evidence.dtype):
                return True
        quantities = [] if verify is None else [verify.kv, verify.features]
        quantities += [] if evidence.draft is None else [evidence.draft.kv]
        # What the sample alone stands beside and no typical error is known of.
        given = [each for each in quantities if each is not None and each.fused is not None]
        return any(not each.samples and each.typical is None for each in given)


def beside_sample(quantity: RowTruth | None, typical: Typical | None) -> RowTruth | None:
    """Return a quantity whose truth is a sample, with the errors that it is judged by."""
    return None if quantity is None else replace(quantity, typical=typical)


def _measured(evidence: StepEvidence) -> Iterator[tuple[str, Array, Array]]:
    """Yield truth and first sample of each quantity that has both, `[G, R, W]`."""
    verify, draft = evidence.verify, evidence.draft
    named: list[tuple[str, RowTruth | None]] = [] if draft is None else [("draft.kv", draft.kv)]
    if verify is not None:
        named += [("verify.kv", verify.kv), ("verify.features", verify.features), (LOGITS, verify.logits)]
    for name, each in named:
        if each is not None and each.truth is not None and each.samples and each.typical is None:
            yield name, as_groups(each.truth), as_groups(each.samples[0])
    levels = () if draft is None else draft.levels
    if levels and all(level.samples and level.typical is None for level in levels):
        yield LEVELS, _pooled(levels, "truth"), _pooled(levels, "sample")


def _pooled(levels: tuple[LevelTruth, ...], which: str) -> Array:
    rows = [level.truth if which == "truth" else level.samples[0] for level in levels]
    return np.concatenate(rows)[None]
