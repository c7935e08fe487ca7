"""The draft of `examples.level_port`: the tree grows level by level, all beams of a level in one batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from examples.level_models import LevelModels, PortState
from tracing.stages import Drafted, DraftLevel


@dataclass
class Growth:
    """A search in progress: the live beams and everything scored so far.

    Attributes:
        seen: Which rows of earlier beams each live beam attends to, bool `[B, rows]`.
        hidden, logprobs: What the drafter gave for the live beams, `[B, hidden]` and `[B, Vd]`.
        beams: Flat numbers of each level's beams, `[B]`; empty at level 0.
        tokens, scores: Candidates of each level, `[B, K]`.
    """

    seen: Tensor
    hidden: Tensor
    logprobs: Tensor
    beams: list[Tensor] = field(default_factory=list)
    tokens: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)


class LevelDraft(LevelModels):
    """The draft stage."""

    @torch.no_grad()
    def draft(self, state: PortState) -> Drafted:
        """Grow `depth` levels of beams below the root and keep the best candidates of all."""
        state.watch.about_to_run("draft", {"committed_len": state.length})
        hidden, logprobs = self.catch_up(state)
        growth = Growth(torch.zeros(1, 0, dtype=torch.bool), hidden, logprobs)
        growth.beams.append(torch.zeros(0, dtype=torch.long))
        self.score(growth, torch.zeros(1))
        for level in range(1, self.settings.depth + 1):
            if float(growth.scores[-1].max()) < self.settings.stop_score:
                break
            self.expand(state, growth, level)
        return self.selected(state, growth)

    def expand(self, state: PortState, growth: Growth, level: int) -> None:
        """Let the best candidates of the last level be beams, and score what follows each."""
        top_k = self.settings.top_k
        kept = self.best_beams(growth.scores[-1].flatten())
        tokens, parents = growth.tokens[-1].flatten()[kept], self.parent_beams(kept)
        growth.seen = self.seen_by(growth.seen[parents], len(kept))
        start = state.length + (level - 1) * top_k
        committed = torch.ones(len(kept), state.length, dtype=torch.bool)
        bias = self.bias_of(torch.cat([committed, growth.seen], dim=1))
        positions = self.beam_positions(state, level, len(kept))
        place = self.drafter_place(state, positions, start, bias)
        hidden = self.beam_hidden(growth.hidden, parents)
        growth.hidden, growth.logprobs = self.run_drafter(self.beam_tokens(tokens), hidden, place)
        growth.beams.append(kept + self.first_flat(level - 1))
        self.score(growth, self.beam_scores(growth.scores[-1].flatten()[kept]))

    def first_flat(self, level: int) -> int:
        """Flat number of a level's first candidate."""
        top_k = self.settings.top_k
        return 0 if level == 0 else top_k + (level - 1) * top_k**2

    def best_beams(self, scores: Tensor) -> Tensor:
        """Places of the beams to keep."""
        return scores.topk(self.settings.top_k).indices

    def parent_beams(self, kept: Tensor) -> Tensor:
        """Which live beam each kept candidate extends."""
        return kept // self.settings.top_k

    def beam_tokens(self, tokens: Tensor) -> Tensor:
        """What the beams are fed."""
        return tokens

    def beam_hidden(self, hidden: Tensor, parents: Tensor) -> Tensor:
        """Each beam continues from what its parent gave."""
        return hidden[parents]

    def beam_positions(self, state: PortState, level: int, count: int) -> Tensor:
        """All beams of a level are at one position."""
        return torch.full((count,), state.length + level - 1)

    def beam_scores(self, scores: Tensor) -> Tensor:
        """What the candidates of each beam add to."""
        return scores

    def seen_by(self, above: Tensor, count: int) -> Tensor:
        """A beam sees what its parent sees, and itself."""
        return torch.cat([above, torch.eye(count, dtype=torch.bool)], dim=1)

    def score(self, growth: Growth, before: Tensor) -> None:
        """Add the best candidates of each live beam."""
        best = growth.logprobs.topk(self.settings.top_k)
        growth.scores.append(before[:, None] + best.values)
        growth.tokens.append(self.target_ids(best.indices))

    def target_ids(self, draft_ids: Tensor) -> Tensor:
        """Draft token ids as the teacher's."""
        return self.target_from_draft[draft_ids]

    def selected(self, state: PortState, growth: Growth) -> Drafted:
        """Keep the best candidates as nodes, in ascending flat order."""
        top_k = self.settings.top_k
        scores = torch.cat([each.flatten() for each in growth.scores])
        tokens = torch.cat([each.flatten() for each in growth.tokens])
        above = torch.cat(
            [torch.full((top_k,), -1), *(each.repeat_interleave(top_k) for each in growth.beams[1:])]
        )
        level = torch.cat([torch.full((each.numel(),), place) for place, each in enumerate(growth.scores)])
        chosen = self.best_nodes(scores)
        return Drafted(
            token_ids=np.array([self.draft_root(state), *tokens[chosen].tolist()]),
            parents=np.array([0, *self.node_parents(chosen, above).tolist()]),
            depths=np.array([0, *(level[chosen] + 1).tolist()]),
            logprobs=np.array([0.0, *scores[chosen].tolist()], dtype=np.float32),
            flat_ids=chosen.numpy(),
            levels=tuple(
                DraftLevel(beam_flat_ids=beams.numpy(), token_ids=ids.numpy(), scores=each.numpy())
                for beams, ids, each in zip(growth.beams, growth.tokens, growth.scores, strict=True)
            ),
        )

    def draft_root(self, state: PortState) -> int:
        """The token of node 0."""
        return state.root

    def best_nodes(self, scores: Tensor) -> Tensor:
        """Flat numbers of the nodes, ascending."""
        count = min(self.settings.tree_nodes - 1, len(scores))
        return scores.topk(count).indices.sort().values

    def node_parents(self, chosen: Tensor, above: Tensor) -> Tensor:
        """Node number of each node's parent."""
        return torch.where(above[chosen] < 0, 0, torch.searchsorted(chosen, above[chosen].clamp(min=0)) + 1)
