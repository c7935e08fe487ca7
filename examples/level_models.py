"""The models of `examples.level_port` in plain torch: teacher and drafter over contiguous caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import StageWatch

Weights = Mapping[str, Tensor]


@dataclass
class PortState:
    """What one request holds.

    Attributes:
        watch: Told before a stage launches.
        main: Teacher's K and V, `[layers, 2, kv_heads, capacity, D]`; the tree's rows begin at `length`.
        drafter: Drafter's K and V, one layer of the same form; beams' rows begin at `drafted`.
        tokens: Committed token ids, L of them.
        root: Token at position L.
        features: Teacher features of the rows that the drafter has not taken in yet, `[R, F]`.
        length, drafted: Committed rows of both caches.
        num_nodes: Rows of the last tree.
    """

    watch: StageWatch
    main: Tensor
    drafter: Tensor
    tokens: list[int] = field(default_factory=list)
    root: int = 0
    features: Tensor = field(default_factory=lambda: torch.zeros(0))
    length: int = 0
    drafted: int = 0
    num_nodes: int = 0


@dataclass(frozen=True)
class Place:
    """Where new rows go.

    Attributes:
        cache: `[layers, 2, kv_heads, capacity, D]`.
        at: Cosines and sines of the new rows.
        start: First row to be written.
        bias: Added to scores, `[R, S]`; S rows are attended to, the new ones last.
    """

    cache: Tensor
    at: tuple[Tensor, Tensor]
    start: int
    bias: Tensor


class LevelModels:
    """Teacher and drafter, over weights that are only read."""

    def __init__(self, pair: ModelPair, settings: DecodeSettings, dtype: str) -> None:
        self.pair, self.settings, self.dtype_name = pair, settings, dtype
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.teacher = {name: each.to(self.dtype) for name, each in pair.teacher_weights.items()}
        self.drafter = {name: each.to(self.dtype) for name, each in pair.drafter_weights.items()}
        self.target_from_draft = torch.as_tensor(pair.target_from_draft)

    # arithmetic

    def norm(self, x: Tensor, scale: Tensor, eps: float) -> Tensor:
        """RMSNorm with float32 statistics."""
        wide = x.float()
        turned: Tensor = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)
        return turned * scale

    def angles(self, positions: Tensor, theta: float, width: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each `[R, width]`."""
        turns = positions.float()[:, None] / theta ** (torch.arange(0, width, 2).float() / width)
        both = torch.cat([turns, turns], dim=-1)
        return both.cos().to(self.dtype), both.sin().to(self.dtype)

    def rotate(self, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotary by halves, heads `[H, R, D]`."""
        first, second = heads.chunk(2, dim=-1)
        return heads * cos + torch.cat([-second, first], dim=-1) * sin

    def attention(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Attend, query `[H, R, D]`, key and value `[H_kv, S, D]`, bias `[R, S]`; returns `[R, H * D]`."""
        group = query.shape[0] // key.shape[0]
        key, value = key.repeat_interleave(group, 0), value.repeat_interleave(group, 0)
        scores = query @ key.transpose(1, 2) * self.scale(query)
        shares = (scores.float() + bias).softmax(-1).nan_to_num(0.0).to(query.dtype)
        return (shares @ value).transpose(0, 1).flatten(1)

    def scale(self, query: Tensor) -> float:
        """Factor on the scores."""
        return float(query.shape[-1] ** -0.5)

    def bias_of(self, visible: Tensor) -> Tensor:
        """Turn who sees whom, bool `[R, S]`, into what is added to scores."""
        return torch.zeros(visible.shape).masked_fill(~visible, -torch.inf)

    def gated(self, x: Tensor, weights: Weights, name: str) -> Tensor:
        """SwiGLU."""
        gate, up = (self.linear(x, weights, f"{name}.{each}_proj") for each in ("gate", "up"))
        return self.linear(functional.silu(gate) * up, weights, f"{name}.down_proj")

    def linear(self, x: Tensor, weights: Weights, name: str) -> Tensor:
        """Matrix and bias, if it has one."""
        return functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def attend(self, x: Tensor, weights: Weights, name: str, place: Place, layer: int) -> Tensor:
        """Project, rotate, write the new rows of one layer, and attend."""
        cache = place.cache[layer]

        def heads(side: str) -> Tensor:
            made = self.linear(x, weights, f"{name}.{side}_proj")
            return made.view(len(x), -1, cache.shape[-1]).transpose(0, 1)

        query, key = self.rotate(heads("q"), *place.at), self.rotate(heads("k"), *place.at)
        self.write(cache, place.start, key, heads("v"))
        stop = place.bias.shape[1]
        attended = self.attention(query, cache[0, :, :stop], cache[1, :, :stop], place.bias)
        return self.linear(attended, weights, f"{name}.o_proj")

    def write(self, cache: Tensor, start: int, key: Tensor, value: Tensor) -> None:
        """Write rows of one layer."""
        cache[0, :, start : start + key.shape[1]] = key
        cache[1, :, start : start + key.shape[1]] = value

    # the teacher

    def run_teacher(
        self, cache: Tensor, tokens: Tensor, positions: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits `[R, V]` and features `[R, F]` of new rows, which end where `bias` ends."""
        config, weights = self.pair.teacher, self.teacher
        at = self.angles(positions, config.rope.theta, config.head_dim)
        place = Place(cache, at, bias.shape[1] - len(tokens), bias)
        x = weights["model.embed_tokens.weight"][tokens]
        entering = []
        for layer in range(config.num_layers):
            entering.append(x)
            name = f"model.layers.{layer}"
            normed = self.norm(x, weights[f"{name}.input_layernorm.weight"], config.rms_norm_eps)
            x = x + self.attend(normed, weights, f"{name}.self_attn", place, layer)
            normed = self.norm(x, weights[f"{name}.post_attention_layernorm.weight"], config.rms_norm_eps)
            x = x + self.gated(normed, weights, f"{name}.mlp")
        entering.append(x)
        last = self.norm(x, weights["model.norm.weight"], config.rms_norm_eps)
        return self.head(last), self.tapped(entering)

    def head(self, last: Tensor) -> Tensor:
        """Logits."""
        return self.linear(last, self.teacher, "lm_head")

    def tapped(self, entering: Sequence[Tensor]) -> Tensor:
        """Features: the rows that enter the tapped layers, side by side."""
        return torch.cat([entering[layer] for layer in self.pair.drafter.aux_layers], dim=-1)

    # the drafter

    def run_drafter(self, tokens: Tensor, hidden: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """Hidden rows and log-probabilities of new drafter rows."""
        config, weights = self.pair.drafter, self.drafter
        eps = config.rms_norm_eps
        embedded = weights["embed_tokens.weight"][tokens]
        joined = torch.cat(
            [
                self.norm(embedded, weights["midlayer.input_layernorm.weight"], eps),
                self.norm(hidden, weights["midlayer.hidden_norm.weight"], eps),
            ],
            dim=-1,
        )
        x = hidden + self.attend(joined, weights, "midlayer.self_attn", place, 0)
        normed = self.norm(x, weights["midlayer.post_attention_layernorm.weight"], eps)
        x = x + self.gated(normed, weights, "midlayer.mlp")
        return x, self.draft_logprobs(self.norm(x, weights["norm.weight"], eps))

    def drafter_place(self, state: PortState, positions: Tensor, start: int, bias: Tensor) -> Place:
        """Where new rows of the drafter go."""
        config = self.pair.drafter
        return Place(state.drafter, self.angles(positions, config.rope.theta, config.head_dim), start, bias)

    def draft_logprobs(self, last: Tensor) -> Tensor:
        """Log-probabilities over the draft vocabulary, float32."""
        return self.linear(last, self.drafter, "lm_head").float().log_softmax(-1)

    def catch_up(self, state: PortState) -> tuple[Tensor, Tensor]:
        """Take in the committed rows that are new; hidden row and log-probabilities of the last."""
        fed = torch.tensor(self.drafter_tokens(state))
        rows = self.linear(self.drafter_features(state), self.drafter, "fc")
        start, stop = state.drafted, state.length
        bias = self.bias_of(torch.ones(stop - start, stop, dtype=torch.bool).tril(start))
        place = self.drafter_place(state, self.drafter_positions(start, stop), start, bias)
        made = self.run_drafter(fed, rows, place)
        state.drafted = stop
        return made[0][-1:], made[1][-1:]

    def drafter_tokens(self, state: PortState) -> list[int]:
        """Row j pairs feature j with token j + 1."""
        return [*state.tokens, state.root][state.drafted + 1 :]

    def drafter_features(self, state: PortState) -> Tensor:
        """Features of the rows that are new."""
        return state.features

    def drafter_positions(self, start: int, stop: int) -> Tensor:
        """Row j is at position j."""
        return torch.arange(start, stop)
