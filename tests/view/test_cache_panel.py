"""The cache panel: positions before and after the commit, lengths and digests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.view.steps import DIFFERENCES, PLAIN, step_view
from tests.view.traces import finding
from workbench.view.cache import cache_lines, cache_rows
from workbench.view.lines import plain_text


def test_the_cache_panel_follows_the_path_indices() -> None:
    rows = cache_rows(step_view(accepted_nodes=np.array([3]), path_indices=np.array([20, 23])))
    assert [(row.position, row.kept_from) for row in rows[:3]] == [(20, 20), (21, 23), (22, None)]
    assert not any(row.wrong for row in rows)


def test_a_wrong_row_kept_is_named_with_the_right_one() -> None:
    step = step_view(accepted_nodes=np.array([3]), path_indices=np.array([20, 22]))
    assert "the path calls for 23" in plain_text(cache_lines(step, PLAIN))


def test_a_row_that_a_finding_names_is_marked() -> None:
    """The path is right and the bits are not: only the digests know."""
    found = (finding(0, "kv_row_digests", node=1), finding(0, "kv_digest_after", node=None))
    lines = plain_text(cache_lines(step_view(findings=found, right={}), DIFFERENCES)).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("!")] == ["fused", "reference", "21"]


def test_a_wrong_length_is_named_with_the_right_one() -> None:
    text = plain_text(cache_lines(step_view(committed_len_after=23), PLAIN))
    assert "20 → 23, expected 22" in text


def test_a_damaged_length_asks_for_no_memory() -> None:
    rows = cache_rows(step_view(committed_len=0, cache_positions=np.full(12, 2**31 - 1)))
    assert len(rows) <= 4097


@pytest.mark.parametrize("path", ["fused", "reference"])
def test_a_finding_on_one_sides_digest_marks_that_side_alone(path: str) -> None:
    """Catches a mark on both sides, which would say that the reference's cache is wrong too."""
    found = (replace(finding(0, "kv_digest_after", node=None), path=path),)
    lines = plain_text(cache_lines(step_view(findings=found, right={}), PLAIN)).splitlines()
    marks = {line.split(" kv ")[0][2:]: line[0] for line in lines if " kv " in line}
    assert marks == {name: "!" if name == path else " " for name in ("fused", "reference")}
