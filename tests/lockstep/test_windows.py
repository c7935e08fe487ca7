"""A path without `kv_lengths` still has its committed rows compared where commit moves them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.lockstep.runs import run
from tracing.stages import DecodePath, Stages


def without_lengths(path: DecodePath) -> DecodePath:
    return replace(path, kv_lengths=None)


def stale_row(stages: Stages) -> Stages:
    """Forget to move the last accepted row: what was there before the commit stays."""

    def commit(state: Any, *given: Any) -> Any:
        done = stages.commit(state, *given)
        main = state.caches.main_cache
        for layer in main.layers:
            layer.values[:, :, done.committed_len_after - 1].zero_()
        return done

    return replace(stages, commit=commit)


@pytest.mark.parametrize("path", [lambda path: path, without_lengths], ids=["with lengths", "without"])
def test_a_row_that_commit_left_behind_is_named_at_commit(path: Any, tmp_path: Path) -> None:
    first = run(tmp_path / "run", fused=stale_row, path=path).first
    assert (first.moment.stage, first.rule) == ("commit", "JUDGE-COMMIT-ROWS")


def test_a_clean_path_without_lengths_is_ok(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", path=without_lengths)
    assert outcome.first is None
