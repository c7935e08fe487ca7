"""Values that the reference cannot be fed are reported with its reason, not as a gap of the path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.lockstep.runs import run


def test_a_beam_that_is_no_candidate_is_reported_with_the_references_reason(tmp_path: Path) -> None:
    def beyond(stages: Any) -> Any:
        def draft(state: Any) -> Any:
            drafted = stages.draft(state)
            first, second, *rest = drafted.levels
            wrong = replace(second, beam_flat_ids=np.full_like(second.beam_flat_ids, 9999))
            return replace(drafted, levels=(first, wrong, *rest))

        return replace(stages, draft=draft)

    outcome = run(tmp_path, fused=beyond)
    assert outcome.first.moment.stage == "draft"
    reasons = [each.reason for each in outcome.verdict.not_checked if each.stage == "draft"]
    assert reasons
    assert all(each.startswith("the reference refuses these values: ") for each in reasons), reasons
