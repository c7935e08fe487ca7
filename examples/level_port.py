"""A whole port in plain torch: `specwb diff --fused examples.level_port:factory --prompt FILE`.

Caches are contiguous buffers, rows of the tree lie behind the committed ones, masks are added to scores, and
the tree grows level by level in batched tensors. Only what the shipped pair needs is there: no qk-norm, no
window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from examples.level_draft import LevelDraft
from examples.level_models import PortState
from tracing.models import DrafterConfig, ModelPair, TeacherConfig
from tracing.settings import DecodeSettings
from tracing.stages import (
    Accepted,
    Committed,
    DecodePath,
    Drafted,
    NullWatch,
    Prefilled,
    Stages,
    StageWatch,
    Tensorized,
    Verified,
)


def factory(pair: ModelPair, settings: DecodeSettings, *, device: str, dtype: str) -> DecodePath:
    """Build the path; see `tracing.stages.PathFactory`."""
    return path_of(LevelPort(pair, settings, "float32" if dtype == "auto" else dtype), device=device)


def path_of(port: LevelPort, *, device: str = "cpu") -> DecodePath:
    """Return a port as a path."""
    names = ("prefill", "draft", "tensorize", "verify", "accept", "commit")
    return DecodePath(
        name="level-port",
        stages=Stages(**{name: getattr(port, name) for name in names}),
        begin=port.begin,
        kv_rows=port.kv_rows,
        kv_lengths=port.kv_lengths,
        snapshot=port.snapshot,
        lacks=frozenset({"slots", "draft_top1_offsets"}),
        info={"device": device, "dtype": port.dtype_name},
    )


class LevelPort(LevelDraft):
    """The stages."""

    # the state and its windows

    def begin(self, watch: StageWatch) -> PortState:
        """Return a fresh state."""
        teacher, drafter = self.pair.teacher, self.pair.drafter
        rows = teacher.max_position_embeddings

        def buffer(layers: int, config: TeacherConfig | DrafterConfig) -> Tensor:
            return torch.zeros(layers, 2, config.num_kv_heads, rows, config.head_dim, dtype=self.dtype)

        return PortState(watch, buffer(teacher.num_layers, teacher), buffer(1, drafter))

    def snapshot(self, state: PortState) -> PortState:
        """Return a copy with caches of its own."""
        tokens, main, drafter = list(state.tokens), state.main.clone(), state.drafter.clone()
        return replace(state, watch=NullWatch(), main=main, drafter=drafter, tokens=tokens)

    def kv_rows(self, state: PortState, cache: str, positions: Any) -> Tensor:
        """Copy rows of a cache; the branch is the same buffer as the main cache."""
        buffer = state.drafter if cache == "drafter" else state.main
        return buffer[:, :, :, torch.as_tensor(positions)].clone()

    def kv_lengths(self, state: PortState, cache: str) -> tuple[int, ...]:
        """Return the length of each layer."""
        if cache == "drafter":
            return (state.drafted,)
        tree = state.num_nodes if cache == "branch" else 0
        return (state.length + tree,) * self.pair.teacher.num_layers

    # the stages

    @torch.no_grad()
    def prefill(self, state: PortState, prompt: Sequence[int]) -> Prefilled:
        """Run the teacher over the prompt; the drafter begins anew."""
        length = len(prompt)
        state.watch.about_to_run("prefill", {"context_token_ids": np.asarray(prompt)})
        bias = self.bias_of(torch.ones(length, length, dtype=torch.bool).tril())
        logits, features = self.run_teacher(state.main, torch.tensor(prompt), torch.arange(length), bias)
        state.tokens, state.root = list(prompt), self.first_root(logits)
        state.features, state.length, state.drafted, state.num_nodes = features, length, 0, 0
        context = np.array([*prompt, state.root])
        return Prefilled(context_token_ids=context, logits=logits[-1], features=features)

    def first_root(self, logits: Tensor) -> int:
        """Choose the first root."""
        return int(logits[-1].argmax())

    def tensorize(self, state: PortState, drafted: Drafted) -> Tensorized:
        """Lay the tree out in `tree_nodes` rows."""
        state.watch.about_to_run(
            "tensorize", {"committed_len": state.length, "draft_parents": drafted.parents}
        )
        count, rows = len(drafted.token_ids), self.settings.tree_nodes
        assert drafted.depths is not None
        assert drafted.logprobs is not None

        def padded(values: Any, dtype: type) -> Any:
            made: Any = np.zeros(rows, dtype)
            made[:count] = values
            return made

        parents, depths = padded(drafted.parents, np.int64), padded(drafted.depths, np.int64)
        valid = self.valid_rows(count, rows)
        return Tensorized(
            token_ids=padded(drafted.token_ids, np.int64),
            parents=parents,
            depths=depths,
            valid=valid,
            logprobs=padded(drafted.logprobs, np.float32),
            position_ids=self.tree_positions(state, depths),
            cache_positions=self.tree_rows(state, rows),
            visible=self.ancestors(torch.as_tensor(parents), torch.as_tensor(valid)).numpy(),
        )

    def valid_rows(self, count: int, rows: int) -> Any:
        """Which rows are nodes."""
        return np.arange(rows) < count

    def tree_positions(self, state: PortState, depths: Any) -> Any:
        """Rotary positions."""
        return state.length + depths

    def tree_rows(self, state: PortState, rows: int) -> Any:
        """Rows of the cache."""
        return state.length + np.arange(rows)

    def ancestors(self, parents: Tensor, valid: Tensor) -> Tensor:
        """Who sees whom: one step up, again and again, until nothing new is reached."""
        step = functional.one_hot(parents, len(parents)).float()
        reach = torch.eye(len(parents))
        for _ in range(self.settings.depth + 1):
            reach = ((reach + reach @ step) > 0).float()
        return (reach > 0) & valid[:, None] & valid[None, :]

    @torch.no_grad()
    def verify(self, state: PortState, tree: Tensorized) -> Verified:
        """Run the teacher over all rows at once; their K and V go behind the committed rows."""
        state.watch.about_to_run("verify", {"committed_len": state.length, **self.launched(tree)})
        prefix = torch.as_tensor(tree.valid)[:, None].expand(-1, state.length)
        bias = self.tree_bias(torch.cat([prefix, torch.as_tensor(tree.visible)], dim=1))
        tokens, positions = torch.as_tensor(tree.token_ids), torch.as_tensor(tree.position_ids)
        logits, features = self.run_teacher(state.main, tokens, positions, bias)
        state.num_nodes = len(tokens)
        seen = (bias == 0).numpy()
        return Verified(
            visible=seen[:, state.length :],
            prefix_visible=seen[:, : state.length].sum(axis=1),
            other_visible=np.zeros(len(tokens), dtype=np.int64),
            logits=self.tree_logits(logits),
            target_token_ids=self.choices(logits).numpy(),
            features=self.tree_features(features),
            kernel="plain torch",
        )

    def launched(self, tree: Tensorized) -> dict[str, Any]:
        """What the launch is given."""
        names = ("token_ids", "parents", "depths", "valid", "position_ids", "cache_positions", "visible")
        return {name: getattr(tree, name) for name in names}

    def tree_bias(self, visible: Tensor) -> Tensor:
        """What is added to the scores of the tree's rows."""
        return self.bias_of(visible)

    def tree_logits(self, logits: Tensor) -> Tensor:
        """Logits as handed on."""
        return logits

    def tree_features(self, features: Tensor) -> Tensor:
        """Features as handed on."""
        return features

    def choices(self, logits: Tensor) -> Tensor:
        """Greedy choice after each row."""
        return logits.argmax(-1)

    def accept(self, state: PortState, tree: Tensorized, verified: Verified, remaining: int) -> Accepted:
        """Follow the choices down the tree, level by level."""
        state.watch.about_to_run("accept", {"target_token_ids": verified.target_token_ids})
        path = self.walk(tree, verified.target_token_ids)
        emitted = [*tree.token_ids[path[1:]].tolist(), self.final_token(verified.target_token_ids, path)]
        emitted, stop_reason = self.cut(emitted, remaining)
        kept = path[: len(emitted)]
        return Accepted(
            accepted_nodes=np.array(kept[1:], dtype=np.int64),
            final_token_id=emitted[-1],
            emitted_token_ids=np.array(emitted),
            path_indices=self.kept_rows(state, kept),
            stop_reason=stop_reason,
        )

    def walk(self, tree: Tensorized, choices: Any) -> list[int]:
        """Nodes of the accepted path, root first."""
        fits = (tree.token_ids == choices[tree.parents]) & tree.valid
        path = [0]
        for depth in range(1, int(tree.depths.max()) + 1):
            below = np.flatnonzero(fits & (tree.depths == depth) & (tree.parents == path[-1]))
            if not below.size:
                break
            path.append(int(below[0]))
        return path

    def final_token(self, choices: Any, path: list[int]) -> int:
        """The token after the path."""
        return int(choices[path[-1]])

    def cut(self, emitted: list[int], remaining: int) -> tuple[list[int], str | None]:
        """Cut at the end of the sequence and at the limit."""
        for place, token in enumerate(emitted[:remaining]):
            if token in self.pair.eos_token_ids:
                return emitted[: place + 1], "eos"
        return emitted[:remaining], "length" if len(emitted) >= remaining else None

    def kept_rows(self, state: PortState, path: list[int]) -> Any:
        """Cache rows that stay."""
        return state.length + np.array(path)

    def commit(self, state: PortState, tree: Tensorized, verified: Verified, accepted: Accepted) -> Committed:
        """Gather the path's rows to the front; the drafter gets their features."""
        state.watch.about_to_run("commit", {"path_indices": accepted.path_indices})
        path, length = [0, *accepted.accepted_nodes.tolist()], state.length
        self.gather(state.main, length, torch.as_tensor(accepted.path_indices))
        state.features = self.path_features(state, verified, path)
        state.tokens += tree.token_ids[path].tolist()
        state.root, state.num_nodes = self.next_root(accepted), 0
        state.length = self.length_after(length, path)
        return Committed(
            committed_len=length,
            committed_len_after=self.reported_length(state),
            commit_mode="full_reorder",
            commit_fallback="a contiguous buffer is always reordered whole",
            prefix_kept=True,
        )

    def gather(self, cache: Tensor, length: int, rows: Tensor) -> None:
        """Move rows to `length ..` in every layer."""
        cache[:, :, :, length : length + len(rows)] = cache[:, :, :, rows].clone()

    def path_features(self, _state: PortState, verified: Verified, path: list[int]) -> Tensor:
        """Features of the rows that were committed."""
        rows: Tensor = verified.features[path]
        return rows

    def next_root(self, accepted: Accepted) -> int:
        """The token that the next tree grows under."""
        return accepted.final_token_id

    def length_after(self, length: int, path: list[int]) -> int:
        """Committed rows after the step."""
        return length + len(path)

    def reported_length(self, state: PortState) -> int:
        """The length that is told."""
        return state.length
