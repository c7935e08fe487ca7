"""Models with attention windows: clean runs are silent on every rung, and a window that is off is found."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.pairs import tiny_pair
from tracing.models import ModelPair
from tracing.reader import open_run
from tracing.settings import DecodeSettings
from workbench.faults.experiment import Setup, run_lockstep
from workbench.faults.placement import Placement, on_function
from workbench.fused import prefill, verify
from workbench.fused.drafters import eagle3
from workbench.judge.recorded.check import check_run

SHAPE = DecodeSettings(tree_nodes=10, depth=3, top_k=3, max_new_tokens=5)
PROMPT = tuple(int(token) for token in np.random.default_rng(0).integers(3, 60, size=37))


def hybrid(**changes: Any) -> ModelPair:
    asked = {"layers": 4, "head_dim": 16, "sliding_window": 9, "windowed_layers": (1, 2), **changes}
    return tiny_pair(5, "qwen3", **asked)


def job_of(pair: ModelPair, rung: str = "masked", **changes: Any) -> Setup:
    return Setup(pair=pair, prompt=PROMPT, settings=replace(SHAPE, **changes), rung=rung)


@st.composite
def windowed_setups(draw: st.DrawFn) -> Setup:
    layers = draw(st.integers(3, 5))
    chosen = draw(st.none() | st.sets(st.integers(0, layers - 1), min_size=1))
    pair = tiny_pair(
        draw(st.integers(0, 9)),
        draw(st.sampled_from(["mistral", "qwen2", "qwen3"])),
        layers=layers,
        head_dim=16,
        sliding_window=draw(st.sampled_from([2, 3, 5, 12, 36, 37, 38, 60])),
        windowed_layers=None if chosen is None else tuple(sorted(chosen)),
        drafter_window=draw(st.sampled_from([0, 0, 2, 4, 30])),
    )
    return Setup(
        pair=pair,
        prompt=PROMPT[: draw(st.integers(1, len(PROMPT)))],
        settings=replace(
            SHAPE,
            window=draw(st.sampled_from([0, 0, 3, 20])),
            kv_layout=draw(st.sampled_from(["contiguous", "paged"])),
            depth=draw(st.integers(0, 4)),
        ),
        rung=draw(st.sampled_from(["masked", "cached", "replay"])),
    )


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(windowed_setups())
@example(job_of(hybrid(windowed_layers=None), "replay"))
@example(job_of(hybrid(drafter_window=5), "cached", window=7))
def test_a_clean_run_is_silent(job: Setup) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_lockstep(job, Placement(), Path(folder) / "run")
        assert [str(finding) for finding in outcome.findings] == []
        assert check_run(Path(folder) / "run").findings == ()


def one_wider(original: Callable[..., Any], *rest: Any) -> Any:
    *given, window = rest
    return original(*given, window + 1 if window else 0)


def ignored(original: Callable[..., Any], *rest: Any) -> Any:
    return original(*rest[:-1], 0)


def for_every_layer(original: Callable[..., Any], *rest: Any) -> Any:
    return original(*rest[:-1], 9)


def swapped(original: Callable[..., Any], *rest: Any) -> Any:
    return original(*rest[:-1], 0 if rest[-1] else 9)


@pytest.mark.parametrize("wrong", [one_wider, ignored, for_every_layer, swapped])
@pytest.mark.parametrize("rung", ["masked", "cached", "replay"])
def test_a_wrong_window_in_verify_is_found(tmp_path: Path, wrong: Any, rung: str) -> None:
    placement = on_function(verify, "packed_visible")(wrong)
    outcome = run_lockstep(job_of(hybrid(), rung), placement, tmp_path / "run")
    assert outcome.findings
    first = outcome.findings[0]
    assert (first.guilty, first.moment.stage) == ("fused", "verify")
    shown = wrong in {for_every_layer, swapped}  # what the first layer was given is recorded
    assert (first.rule in {"MASK009", "JUDGE-VERIFY-PREFIX"}) == shown


@pytest.mark.parametrize("wrong", [one_wider, ignored])
def test_a_wrong_window_of_all_layers_is_found_in_the_trace_alone(tmp_path: Path, wrong: Any) -> None:
    placement = on_function(verify, "packed_visible")(wrong)
    run_lockstep(job_of(hybrid(windowed_layers=None)), placement, tmp_path / "run")
    found = check_run(tmp_path / "run").findings
    alone = [finding for finding in found if not finding.rule.startswith("JUDGE-PATHS")]
    assert {finding.rule for finding in alone} == {"MASK009"}
    assert {finding.path for finding in alone} == {"fused"}


def test_a_tree_deeper_than_the_window_is_checked_inside_too(tmp_path: Path) -> None:
    """The window hides the root from deep nodes; ignored in the tree, it is a rule of its own."""

    def whole_tree(
        original: Callable[..., Any], engine: Any, tree: Any, committed_len: int, window: int
    ) -> Any:
        visible, full = (
            original(engine, tree, committed_len, window),
            original(engine, tree, committed_len, 0),
        )
        visible[:, committed_len:] = full[:, committed_len:]
        return visible

    deep = job_of(hybrid(sliding_window=2, windowed_layers=None), depth=4)
    assert run_lockstep(deep, Placement(), tmp_path / "clean").findings == ()
    placement = on_function(verify, "packed_visible")(whole_tree)
    assert run_lockstep(deep, placement, tmp_path / "run").findings[0].rule == "MASK012"
    assert {finding.rule for finding in check_run(tmp_path / "run").findings} >= {"MASK012"}


def test_a_wrong_window_in_prefill_is_prefills(tmp_path: Path) -> None:
    def wider(original: Callable[..., Any], rows: int, keys: int, window: int, device: Any) -> Any:
        return original(rows, keys, window + 1, device)

    placement = on_function(prefill, "causal_visible")(wider)
    outcome = run_lockstep(job_of(hybrid()), placement, tmp_path / "run")
    assert outcome.findings
    assert outcome.findings[0].moment.stage == "prefill"


@pytest.mark.parametrize("rung", ["masked", "cached", "replay"])
def test_a_drafter_window_that_is_ignored_is_the_drafts(tmp_path: Path, rung: str) -> None:
    placement = on_function(eagle3, "within_window")(ignored_window)
    outcome = run_lockstep(job_of(hybrid(drafter_window=6), rung), placement, tmp_path / "run")
    assert outcome.findings
    assert (outcome.findings[0].guilty, outcome.findings[0].moment.stage) == ("fused", "draft")


def ignored_window(original: Callable[..., Any], first: Any, second: Any, _: int, *rest: Any) -> Any:
    return original(first, second, 0, *rest)


def test_the_facts_stand_in_the_manifest(tmp_path: Path) -> None:
    run_lockstep(job_of(hybrid(drafter_window=6), window=4), Placement(), tmp_path / "run")
    facts = open_run(tmp_path / "run").manifest["model_facts"]
    assert facts["windows"] == [0, 9, 9, 0]
    assert (facts["shown_layer"], facts["drafter_window"]) == (0, 4)
