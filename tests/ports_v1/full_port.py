"""A port of every stage, written against the first version of the seam and not touched since.

It keeps no cache: each forward runs over all tokens, the teacher by transformers' eager attention.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import silu
from transformers import LlamaConfig, LlamaForCausalLM

from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import (
    Accepted,
    Committed,
    DecodePath,
    Drafted,
    DraftLevel,
    Prefilled,
    Stages,
    StageWatch,
    Tensorized,
    Verified,
)


@dataclass
class PortState:
    watch: StageWatch
    tokens: list[int] = field(default_factory=list)
    root: int = 0
    features: Any = None


def factory(pair: ModelPair, settings: DecodeSettings, *, device: str, dtype: str) -> DecodePath:
    """See `tracing.stages.PathFactory`."""
    port = Port(pair, settings)
    return DecodePath(
        name="full-port",
        stages=Stages(
            prefill=port.prefill,
            draft=port.draft,
            tensorize=port.tensorize,
            verify=port.verify,
            accept=port.accept,
            commit=port.commit,
        ),
        begin=lambda watch: PortState(watch=watch),
        lacks=frozenset({"slots", "kv_digest_before", "kv_digest_after", "kv_row_digests"}),
        info={"device": device, "dtype": "float32" if dtype == "auto" else dtype},
    )


class Port:
    def __init__(self, pair: ModelPair, settings: DecodeSettings) -> None:
        self.pair, self.settings = pair, settings
        config = pair.teacher
        self.teacher = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                num_key_value_heads=config.num_kv_heads,
                head_dim=config.head_dim,
                rms_norm_eps=config.rms_norm_eps,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope.theta},
                attn_implementation="eager",
            )
        ).eval()
        self.teacher.load_state_dict(dict(pair.teacher_weights))

    @torch.no_grad()
    def forward(self, tokens: Any, positions: Any, visible: Any) -> tuple[Tensor, Tensor]:
        """Logits `[R, V]` and features `[R, 3H]` of all rows."""
        blocked = torch.zeros(visible.shape).masked_fill(~torch.as_tensor(visible), -torch.inf)
        made = self.teacher(
            torch.as_tensor(tokens)[None],
            attention_mask=blocked[None, None],
            position_ids=torch.as_tensor(positions)[None],
            output_hidden_states=True,
            use_cache=False,
        )
        tapped = [made.hidden_states[layer][0] for layer in self.pair.drafter.aux_layers]
        return made.logits[0], torch.cat(tapped, dim=-1)

    def prefill(self, state: PortState, prompt: Any) -> Prefilled:
        length = len(prompt)
        state.watch.about_to_run("prefill", {"context_token_ids": np.array(prompt)})
        logits, features = self.forward(list(prompt), range(length), np.tri(length, dtype=bool))
        state.tokens, state.features, state.root = list(prompt), features, int(logits[-1].argmax())
        context = np.array([*prompt, state.root])
        return Prefilled(context_token_ids=context, logits=logits[-1], features=features)

    def norm(self, rows: Tensor, name: str) -> Tensor:
        scale = torch.rsqrt(rows.square().mean(-1, keepdim=True) + self.pair.drafter.rms_norm_eps)
        return rows * scale * self.pair.drafter_weights[f"{name}.weight"]

    def rotated(self, heads: Tensor) -> Tensor:
        config = self.pair.drafter
        half = config.head_dim // 2
        turns = torch.arange(heads.shape[1])[:, None] * config.rope.theta ** (-torch.arange(half) / half)
        first, second = heads[..., :half], heads[..., half:]
        cos, sin = turns.cos(), turns.sin()
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    def last_row(self, tokens: list[int], inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Feature and log-probabilities after one causal sequence of drafter rows."""
        config, weights = self.pair.drafter, self.pair.drafter_weights
        embedded = weights["embed_tokens.weight"][torch.tensor(tokens)]
        joined = torch.cat(
            [self.norm(embedded, "midlayer.input_layernorm"), self.norm(inputs, "midlayer.hidden_norm")], -1
        )

        def heads(name: str) -> Tensor:
            rows = joined @ weights[f"midlayer.self_attn.{name}_proj.weight"].T
            return rows.view(len(tokens), -1, config.head_dim).transpose(0, 1)

        shared = config.num_heads // config.num_kv_heads
        query = self.rotated(heads("q"))[:, -1:]
        key = self.rotated(heads("k")).repeat_interleave(shared, 0)
        scores = (query @ key.transpose(1, 2) * config.head_dim**-0.5).softmax(-1)
        mixed = (scores @ heads("v").repeat_interleave(shared, 0)).flatten()
        out = inputs[-1] + mixed @ weights["midlayer.self_attn.o_proj.weight"].T
        normed = self.norm(out, "midlayer.post_attention_layernorm")
        gate, up, down = (weights[f"midlayer.mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
        out = out + (silu(normed @ gate.T) * (normed @ up.T)) @ down.T
        return out, (self.norm(out, "norm") @ weights["lm_head.weight"].T).log_softmax(-1)

    @torch.no_grad()
    def draft(self, state: PortState) -> Drafted:
        state.watch.about_to_run("draft", {"committed_len": len(state.tokens)})
        top_k, targets = self.settings.top_k, self.pair.target_from_draft.numpy()
        start = ([*state.tokens[1:], state.root], state.features @ self.pair.drafter_weights["fc.weight"].T)
        live, scores_before = [start], np.zeros(1, np.float32)
        flat_ids, levels = np.zeros(0, np.int64), []
        parents, depths = [], []
        for number in range(self.settings.depth + 1):
            rows = [self.last_row(*one) for one in live]
            order = [np.argsort(-logprobs.numpy(), kind="stable")[:top_k] for _, logprobs in rows]
            scores = np.stack(
                [
                    score + row[1].numpy()[ids]
                    for score, row, ids in zip(scores_before, rows, order, strict=True)
                ]
            )
            tokens = targets[np.stack(order)]
            levels.append(DraftLevel(beam_flat_ids=flat_ids, token_ids=tokens, scores=scores))
            parents += np.repeat(flat_ids if number else [-1], top_k).tolist()
            depths += [number + 1] * scores.size
            first = 0 if number == 0 else top_k + (number - 1) * top_k**2
            best = np.argsort(-scores.ravel(), kind="stable")[:top_k]
            flat_ids, scores_before = first + best, scores.ravel()[best]
            live = [
                (
                    [*live[place // top_k][0], int(tokens.ravel()[place])],
                    torch.cat([live[place // top_k][1], rows[place // top_k][0][None]]),
                )
                for place in best
            ]
        everything = np.concatenate([level.scores.ravel() for level in levels])
        chosen = np.sort(np.argsort(-everything, kind="stable")[: self.settings.tree_nodes - 1])
        node = {-1: 0} | {int(flat): place + 1 for place, flat in enumerate(chosen)}
        candidates = np.concatenate([level.token_ids.ravel() for level in levels])
        return Drafted(
            token_ids=np.array([state.root, *candidates[chosen]]),
            parents=np.array([0, *(node[parents[flat]] for flat in chosen)]),
            depths=np.array([0, *(depths[flat] for flat in chosen)]),
            logprobs=np.array([0, *everything[chosen]], dtype=np.float32),
            flat_ids=chosen,
            levels=tuple(levels),
        )

    def tensorize(self, state: PortState, drafted: Drafted) -> Tensorized:
        num_nodes, length = len(drafted.token_ids), len(state.tokens)
        visible = np.eye(num_nodes, dtype=bool)
        for node in range(1, num_nodes):
            visible[node] |= visible[drafted.parents[node]]
        return Tensorized(
            token_ids=drafted.token_ids,
            parents=drafted.parents,
            depths=drafted.depths,
            valid=np.ones(num_nodes, dtype=bool),
            logprobs=drafted.logprobs,
            position_ids=length + drafted.depths,
            cache_positions=length + np.arange(num_nodes),
            visible=visible,
        )

    def verify(self, state: PortState, tree: Tensorized) -> Verified:
        length, num_nodes = len(state.tokens), len(tree.token_ids)
        visible = np.zeros((length + num_nodes, length + num_nodes), dtype=bool)
        visible[:length, :length] = np.tri(length, dtype=bool)
        visible[length:, :length] = True
        visible[length:, length:] = tree.visible
        positions = [*range(length), *tree.position_ids.tolist()]
        logits, features = self.forward([*state.tokens, *tree.token_ids.tolist()], positions, visible)
        return Verified(
            visible=tree.visible,
            prefix_visible=visible[length:, :length].sum(axis=1),
            other_visible=np.zeros(num_nodes, dtype=np.int64),
            logits=logits[length:],
            target_token_ids=logits[length:].argmax(-1).numpy(),
            features=features[length:],
            kernel="transformers eager",
        )

    def accept(self, state: PortState, tree: Tensorized, verified: Verified, remaining: int) -> Accepted:
        path, choices = [0], verified.target_token_ids
        while True:
            below = np.flatnonzero((tree.parents == path[-1]) & (tree.token_ids == choices[path[-1]]))
            below = below[below > path[-1]]
            if not len(below):
                break
            path.append(int(below[0]))
        emitted, stop_reason = [*tree.token_ids[path[1:]].tolist(), int(choices[path[-1]])], None
        for place, token in enumerate(emitted):
            if token in self.pair.eos_token_ids or place + 1 == remaining:
                stop_reason = "eos" if token in self.pair.eos_token_ids else "length"
                emitted = emitted[: place + 1]
                break
        kept = path[: len(emitted)]
        return Accepted(
            accepted_nodes=np.array(kept[1:], dtype=np.int64),
            final_token_id=emitted[-1],
            emitted_token_ids=np.array(emitted),
            path_indices=len(state.tokens) + np.array(kept),
            stop_reason=stop_reason,
        )

    def commit(self, state: PortState, tree: Tensorized, verified: Verified, accepted: Accepted) -> Committed:
        nodes, length = [0, *accepted.accepted_nodes.tolist()], len(state.tokens)
        state.tokens += tree.token_ids[nodes].tolist()
        state.features = torch.cat([state.features, verified.features[nodes]])
        state.root = accepted.final_token_id
        return Committed(committed_len=length, committed_len_after=len(state.tokens))
