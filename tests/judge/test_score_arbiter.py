"""The arbiter of a draft's score names the path that is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.judge.test_near_ties import ROOT_ROW, drafted, small_draft


def test_the_arbiter_of_a_score_names_the_guilty_path() -> None:
    one = [[-1.0, -1.2, -9.0, -9.0], [-1.5, -1.9, -9.0, -9.0]]
    wrong_own = [[-1.5, -1.9, -9.0, -9.0], one[1]]
    evidence = small_draft([[ROOT_ROW], one], [[ROOT_ROW], wrong_own], tree_nodes=4, depth=1)
    for arbiter, guilty in ((one[0], "fused"), (wrong_own[0], "reference"), ([-4.0] * 4, "both")):
        levels = (evidence.levels[0], replace(evidence.levels[1], arbiter={0: np.array(arbiter)}))
        findings = drafted(replace(evidence, levels=levels)).findings
        assert {finding.guilty for finding in findings if finding.rule == "JUDGE-DRAFT-SCORES"} == {guilty}


def test_the_arbiter_of_a_row_names_who_left_out_a_candidate() -> None:
    """The path lists tokens 0 and 2 with sound scores; by the truth token 1 is better by 1."""
    truth, own = [-0.5, -1.5, -2.5, -8.0], [-0.5, -9.0, -2.5, -8.0]
    evidence = small_draft([[truth]], [[own]], tree_nodes=3, depth=0)
    clear, between = [-0.5, -1.5, -2.5, -8.0], [-0.5, -2.45, -2.5, -8.0]
    for arbiter, guilty in ((None, "unknown"), (clear, "fused"), (own, "reference"), (between, "unknown")):
        given = {} if arbiter is None else {0: np.array(arbiter)}
        levels = (replace(evidence.levels[0], arbiter=given),)
        findings = drafted(replace(evidence, levels=levels)).findings
        assert [(finding.rule, finding.guilty) for finding in findings] == [
            ("JUDGE-DRAFT-CANDIDATES", guilty)
        ]
