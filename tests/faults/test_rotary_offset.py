"""A constant added to every rotary position, as pictures in a prompt do: silent where it is declared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_rounded_cache import job
from tracing.stages import DecodePath
from workbench.faults.experiment import run_lockstep
from workbench.faults.placement import Placement
from workbench.fused.drafters.eagle3_network import Eagle3Network
from workbench.fused.teacher import Teacher
from workbench.judge.recorded.check import check_run

OFFSET = 7


def turning(kind: type, by: int) -> Any:
    """Let a network rotate each row so much further; positions of a tree have the offset already."""

    @contextmanager
    def patched() -> Iterator[None]:
        honest = kind.forward  # type: ignore[attr-defined]  # both networks have it

        def forward(self: Any, tokens: Any, *rest: Any, **named: Any) -> Any:
            *before, positions, cache, call = rest
            is_tree = kind is Teacher and len(positions) > 1 and not named.get("last_only")
            return honest(self, tokens, *before, positions + (0 if is_tree else by), cache, call, **named)

        kind.forward = forward  # type: ignore[attr-defined]  # likewise
        try:
            yield
        finally:
            kind.forward = honest  # type: ignore[attr-defined]  # likewise

    return patched


def offset_path(teacher: int = OFFSET, drafter: int = OFFSET, tree: int = OFFSET) -> Placement:
    """A path that adds so much to the rotary positions of prefill, of the drafter, and of trees."""

    @contextmanager
    def around() -> Iterator[None]:
        with turning(Teacher, teacher)(), turning(Eagle3Network, drafter)():
            yield

    def path(made: DecodePath) -> DecodePath:
        honest: Any = made.stages.tensorize

        def tensorize(state: Any, drafted: Any) -> Any:
            laid_out = honest(state, drafted)
            return replace(laid_out, position_ids=laid_out.position_ids + tree)

        return replace(made, stages=replace(made.stages, tensorize=tensorize))

    return Placement(around=around, path=path)


@pytest.mark.parametrize(
    ("rung", "dtype", "offset"),
    [("masked", "float32", OFFSET), ("cached", "bfloat16", OFFSET), ("replay", "float32", -3)],
)
def test_a_declared_offset_is_silent(tmp_path: Path, rung: str, dtype: str, offset: int) -> None:
    """The reference turned its rows from position 0 on, so that every key of a lawful path was wrong."""
    declared = job(3, dtype, rung, rotary_offset=offset)
    outcome = run_lockstep(declared, offset_path(offset, offset, offset), tmp_path / "run")
    assert [str(finding) for finding in outcome.findings] == []
    assert check_run(tmp_path / "run").findings == ()


@pytest.mark.parametrize(
    ("declared", "wrong", "rule"),
    [
        (0, {}, "JUDGE-PREFILL-KV"),
        (OFFSET, {"teacher": 0}, "JUDGE-PREFILL-KV"),
        (OFFSET, {"drafter": 0}, "JUDGE-DRAFT-KV"),
        (OFFSET, {"tree": OFFSET + 1}, "JUDGE-TENSORIZE-POSITIONS"),
    ],
)
def test_an_offset_that_is_not_declared_or_ignored_is_found(
    tmp_path: Path, declared: int, wrong: dict[str, int], rule: str
) -> None:
    outcome = run_lockstep(job(3, rotary_offset=declared), offset_path(**wrong), tmp_path / "run")
    assert (outcome.findings[0].rule, outcome.findings[0].guilty) == (rule, "fused")
