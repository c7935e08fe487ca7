"""Verify: what the operator was given, pads, refusal, and one row alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.fused.support import Run, fused_path, plain_teacher, small_pair, start
from tracing.errors import LaunchRefusedError
from tracing.settings import DecodeSettings
from tracing.stages import NullWatch, Tensorized, Verified
from workbench.fused import verify as verify_stage
from workbench.npu import dispatch

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
PADDED = DecodeSettings(tree_nodes=24, depth=1, top_k=4)  # 20 candidates and the root: 3 pads
ATTENTION = "npu_fused_infer_attention_score"


def up_to_verify(**options: Any) -> tuple[Run, Tensorized]:
    run = start(fused_path(small_pair(5), PADDED, **options), PROMPT)
    run.step()
    stages = run.path.stages
    return run, stages.tensorize(run.state, stages.draft(run.state))


def verify(run: Run, tree: Tensorized) -> Verified:
    return run.path.stages.verify(run.state, tree)


@pytest.mark.parametrize("eager", [frozenset(), frozenset({"attention"})], ids=["fused", "eager"])
def test_visible_is_what_was_built(eager: frozenset[str]) -> None:
    run, tree = up_to_verify(eager=eager)
    seen = verify(run, tree)
    assert np.array_equal(seen.visible, tree.visible)
    assert np.array_equal(seen.prefix_visible, np.where(tree.valid, run.state.committed_len, 0))
    assert not seen.other_visible.any()
    width = run.state.committed_len + 24
    assert f"mask=bool[1, 1, 24, {width}]" in seen.kernel
    assert seen.kernel.startswith("eager_attention" if eager else ATTENTION)


def test_a_mask_tampered_with_on_its_way_is_reported_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read back from the call, not recomputed from parents: a sibling made visible has to show."""
    run, tree = up_to_verify()
    sibling = int(np.flatnonzero((tree.parents == tree.parents[2]) & (np.arange(24) > 2))[0])

    def leak(visible: torch.Tensor) -> torch.Tensor:
        visible = visible.clone()
        visible[sibling, run.state.committed_len + 2] = True
        return honest(visible)

    honest: Callable[[torch.Tensor], torch.Tensor] = verify_stage.blocked_from_visible
    monkeypatch.setattr(verify_stage, "blocked_from_visible", leak)
    seen = verify(run, tree)
    assert np.argwhere(seen.visible != tree.visible).tolist() == [[sibling, 2]]


def test_a_mask_changed_inside_the_call_is_reported() -> None:
    """Even a wrapper around the operator that writes into the mask is seen."""
    run, tree = up_to_verify()

    def meddle(operator: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            options["atten_mask"][0, 0, 1, 0] = True
            return operator(*arguments, **options)

        return call

    with dispatch.wrapped(ATTENTION, meddle):
        seen = verify(run, tree)
    expected = np.where(tree.valid, run.state.committed_len, 0)
    expected[1] -= 1
    assert np.array_equal(seen.prefix_visible, expected)


@torch.no_grad()
def test_each_row_is_the_teacher_after_its_own_path() -> None:
    """Context correctness, against transformers without a cache.

    Logits are of size 10 to 100 in float32, where two orders of the same sums differ by up to 1e-4; a single
    foreign key moves them by more than 1e-2.
    """
    run, tree = up_to_verify()
    seen, model = verify(run, tree), plain_teacher(small_pair(5))
    context = [*PROMPT, *run.emitted][: run.state.committed_len]
    for node in np.flatnonzero(tree.valid):
        path = tree.token_ids[np.flatnonzero(tree.visible[node])].tolist()
        logits = model(torch.tensor([[*context, *path]]), use_cache=False).logits[0, -1]
        torch.testing.assert_close(seen.logits[node], logits, rtol=0, atol=5e-4)


def test_pads_are_inert() -> None:
    """Another pad token changes no valid row, and pads hold no NaN that a later kernel could spread."""
    run, tree = up_to_verify()
    other = replace(tree, token_ids=np.where(tree.valid, tree.token_ids, 33))
    first, second = verify(run, tree), verify(run, other)
    assert (~tree.valid).sum() == 3
    for name in ("logits", "features"):
        ours, theirs = getattr(first, name), getattr(second, name)
        assert torch.equal(ours[tree.valid], theirs[tree.valid])
        assert torch.isfinite(ours).all()
    assert not torch.equal(first.features[~tree.valid], second.features[~tree.valid]), (
        "the token was not changed"
    )


def test_verify_can_be_repeated_and_leaves_the_committed_cache_alone() -> None:
    run, tree = up_to_verify()
    committed = run.path.kv_rows(run.state, "main", np.arange(run.state.committed_len))
    first, second = verify(run, tree), verify(run, tree)
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(run.path.kv_rows(run.state, "main", np.arange(run.state.committed_len)), committed)


def test_one_row_alone_agrees_with_its_row_in_the_tree() -> None:
    """The judge's M = 1 probe takes the one-row kernel; only the order of sums may differ (see above)."""
    run, tree = up_to_verify()
    whole = verify(run, tree)
    root = Tensorized(
        token_ids=tree.token_ids[:1],
        parents=tree.parents[:1],
        depths=tree.depths[:1],
        valid=tree.valid[:1],
        logprobs=tree.logprobs[:1],
        position_ids=tree.position_ids[:1],
        cache_positions=tree.cache_positions[:1],
        visible=tree.visible[:1, :1],
    )
    alone = verify(run, root)
    torch.testing.assert_close(alone.logits[0], whole.logits[0], rtol=0, atol=5e-4)
    assert alone.visible.tolist() == [[True]]
    assert alone.prefix_visible.tolist() == [run.state.committed_len]


class Refusal(NullWatch):
    """Refuses one stage, and keeps what it was told before."""

    def __init__(self, stage: str) -> None:
        self.stage, self.told = stage, dict[str, Mapping[str, Any]]()

    def about_to_run(self, stage: str, columns: Mapping[str, Any]) -> None:
        self.told[stage] = columns
        if stage == self.stage:
            raise LaunchRefusedError(stage, ())


@pytest.mark.parametrize("stage", ["prefill", "draft", "tensorize", "verify", "accept", "commit"])
def test_a_refused_launch_leaves_the_state_as_it_was(stage: str) -> None:
    """Nothing may have been cropped, appended or replaced when the watch says no; then the step can go on."""
    pair = small_pair(5)
    path = fused_path(pair, PADDED)
    expected, run = start(path, PROMPT), start(path, PROMPT)
    for each in (expected, run):
        each.step()
    watch = Refusal(stage)
    run.state.watch = watch
    lengths = [path.kv_lengths(run.state, cache) for cache in ("main", "branch", "drafter")]
    with pytest.raises(LaunchRefusedError, match=stage):
        path.stages.prefill(run.state, [1, 2]) if stage == "prefill" else run.step()
    now = [path.kv_lengths(run.state, cache) for cache in ("main", "branch", "drafter")]
    assert now[0] == lengths[0], "the committed cache changes at commit only"
    if stage in {"prefill", "draft"}:  # nothing else has run on the state since
        assert now == lengths
    run.state.watch = NullWatch()
    assert (
        run.step().accepted.emitted_token_ids.tolist() == expected.step().accepted.emitted_token_ids.tolist()
    )


def test_the_watch_is_told_every_stage_with_columns_of_the_trace() -> None:
    from tracing.columns import COLUMN_BY_NAME

    watch = Refusal("none")
    start(fused_path(small_pair(5), PADDED), PROMPT, watch=watch).step()
    assert list(watch.told) == ["prefill", "draft", "tensorize", "verify", "accept", "commit"]
    assert all(name in COLUMN_BY_NAME for columns in watch.told.values() for name in columns)
    assert watch.told["verify"]["visible"].shape == (24, 24)


def test_another_paths_stage_can_finish_a_step() -> None:
    """State is data: after a refused launch the step may go on with an eager path over the same weights."""
    pair = small_pair(5)
    fused, eager = (fused_path(pair, PADDED, eager=frozenset(ops)) for ops in ((), ("attention", "norm")))
    run, expected = start(fused, PROMPT), start(fused, PROMPT)
    for _ in range(4):
        run.path = eager if run.path is fused else fused
        run.step()
        expected.step()
    assert run.emitted == expected.emitted
