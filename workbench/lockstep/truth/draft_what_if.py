"""What the drafter would give if one standard mistake were made; asked only of a draft that is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

import numpy as np
import torch

from reference.drafters import eagle3_network, eagle3_tree
from reference.drafters.eagle3_tree import NextBeams, TreeRows
from reference.model import ReferenceModels
from reference.search import DraftContext, follow
from reference.visible import narrower
from tracing.settings import DecodeSettings
from tracing.stages import DraftLevel
from workbench.judge.evidence import Array
from workbench.lockstep.tensors.host import host_floats

TAPS: Final = 3


@dataclass(frozen=True, slots=True)
class Above:
    """What is there before a level is run: the rows so far, and those of the root's level."""

    rows: TreeRows
    first: TreeRows

    @property
    def committed(self) -> int:
        """L."""
        return int(self.rows.committed_kv.shape[3])

    @property
    def num_rows(self) -> int:
        """All rows so far."""
        return int(self.rows.kv.shape[3])

    @property
    def level(self) -> int:
        """Levels of beams so far."""
        return (self.num_rows - self.committed) // max(len(self.rows.hidden), 1)


Changed = Callable[[NextBeams, Above], NextBeams]
"""NextBeams as they should be, and what is above them, to beams with one mistake."""


@dataclass(frozen=True, slots=True)
class FedDraft:
    """What a draft started from.

    Attributes:
        models: Those of the truth.
        settings: Depth and the like.
        tokens, root: Committed ids, and the token after them.
        features: Tapped teacher features of the committed rows, `[L, F]`.
        handed_on: Clauses and rows that may have been handed on for the newest of them, `[A + 1, F]` each.
    """

    models: ReferenceModels
    settings: DecodeSettings
    tokens: tuple[int, ...]
    root: int
    features: Any
    handed_on: tuple[tuple[str, Any], ...] = ()

    @property
    def is_eagle3(self) -> bool:
        """Whether these mistakes can be made with this drafter."""
        return self.models.pair.proposer == "eagle3" and self.features.shape[-1] > 0


def fed_otherwise(fed: FedDraft) -> Iterator[tuple[str, FedDraft]]:
    """Yield mistakes in what the drafter is fed, or in its configuration."""
    rows = torch.as_tensor(fed.features)
    yield "its value with the feature of the row before", replace(fed, features=rows.roll(1, 0))
    yield "its value with the feature of the row after", replace(fed, features=rows.roll(-1, 0))
    own = (fed.tokens[0], *fed.tokens[:-1])
    yield (
        "its value with feature j and token j, not token j + 1",
        replace(fed, tokens=own, root=fed.tokens[-1]),
    )
    if rows.shape[-1] % TAPS == 0:
        taps = rows.chunk(TAPS, dim=-1)
        for order in product(range(TAPS), repeat=TAPS):
            if order != tuple(range(TAPS)):
                mixed = torch.cat([taps[tap] for tap in order], dim=-1)
                yield f"its value with the taps {', '.join(map(str, order))}", replace(fed, features=mixed)
    for name, clause in (
        (
            "norm_output",
            "its value if the drafter's normed row is handed on, or its plain one where it should not",
        ),
        ("norm_before_residual", "its value with the other of normed and plain feature as the residual"),
    ):
        other = copy.copy(fed.models)
        other.drafter = replace(other.drafter, **{name: not getattr(other.drafter, name)})
        yield clause, replace(fed, models=other)
    yield from _newest_rows(fed, rows)


def _newest_rows(fed: FedDraft, rows: torch.Tensor) -> Iterator[tuple[str, FedDraft]]:
    """Yield mistakes in which rows of the last forward were handed on for the path that it committed."""
    for clause, given in fed.handed_on:
        made = rows.clone()
        made[len(made) - len(given) :] = torch.as_tensor(given).to(made.dtype)
        yield f"its value with {clause}", replace(fed, features=made)


def committed_kv(fed: FedDraft, shift: int = 0) -> Array:
    """Return the drafter's keys and values of the committed rows, `[1, 2, kv_heads, L, D]`."""
    models = fed.models
    tokens = models.tokens([*fed.tokens, fed.root])[1:]
    inputs = eagle3_network.fuse_features(models, models.floats(fed.features))
    places = torch.arange(len(tokens), device=models.device) + shift
    sees = torch.ones(1, len(tokens), dtype=torch.bool, device=models.device)
    return host_floats(eagle3_network.forward(models, tokens, inputs, places.clamp(min=0), sees).kv)


def kv_otherwise(fed: FedDraft) -> Iterator[tuple[str, Array]]:
    """Yield what the drafter's committed rows would be."""
    for clause, other in fed_otherwise(fed):
        yield clause, committed_kv(other)
    for shift in (1, -1):
        yield f"its value {_aside(shift)}", committed_kv(fed, shift)


def levels_otherwise(fed: FedDraft, levels: Sequence[DraftLevel]) -> Iterator[tuple[str, tuple[Array, ...]]]:
    """Yield what each level's log-probabilities would be, `[B, Vd]` a level, along the path's own beams."""
    for clause, other in fed_otherwise(fed):
        yield clause, followed(other, levels)
    first = begun(fed)
    for clause, changed in BEAMS:
        yield f"its value when the beams {clause}", followed(fed, levels, changed, first)
    for clause, window in _other_windows(fed):
        models = copy.copy(fed.models)
        models.drafter = replace(models.drafter, window=window)
        everywhere = replace(fed, models=models, settings=replace(fed.settings, window=0))
        yield f"its value {clause}", followed(everywhere, levels)
        yield (
            f"its value when the beams are computed {clause}",
            followed(fed, levels, first=replace(first, window=window)),
        )


def _other_windows(fed: FedDraft) -> Iterator[tuple[str, int]]:
    """Yield widths that a window may have by mistake, 0 for none."""
    window = narrower(fed.settings.window, fed.models.drafter.window)
    if window:
        yield "without the drafter's window", 0
        yield "with a window that is one wider", window + 1
        yield "with a window that is one narrower", max(window - 1, 1)
        if of_teacher := max(fed.models.teacher.windows):
            yield "with the teacher's window", of_teacher


def begun(fed: FedDraft) -> TreeRows:
    """Return the committed rows, which the beams follow."""
    context = DraftContext(fed.tokens, fed.root, fed.features)
    return eagle3_tree.begin(fed.models, context, fed.settings, reuses_kv=True)


def followed(
    fed: FedDraft,
    levels: Sequence[DraftLevel],
    changed: Changed = lambda beams, _: beams,
    first: TreeRows | None = None,
) -> tuple[Array, ...]:
    """Return each level's log-probabilities, `[B, Vd]` a level, when beams or the rows before are changed."""
    first = begun(fed) if first is None else first

    def expand(rows: TreeRows, parents: Any, token_ids: Any) -> TreeRows:
        beams = eagle3_tree.beams(rows, parents, token_ids)
        return eagle3_tree.append(rows, changed(beams, Above(rows, first)))

    truth = follow(first, expand, target_from_draft=fed.models.target_from_draft, levels=levels)
    return tuple(host_floats(level.row_logprobs) for level in truth.levels)


def _aside(shift: int) -> str:
    return "one position further on" if shift > 0 else "one position further back"


def _shifted(beams: NextBeams, above: Above, shift: int) -> NextBeams:
    """Shift the first level; those after it go on from there."""
    return replace(beams, position_ids=beams.position_ids + (shift if above.level == 0 else 0))


def _at(beams: NextBeams, above: Above, more: Any) -> NextBeams:
    """Place every level by itself: all at the first one's position, and `more` on from there."""
    return replace(beams, position_ids=torch.full_like(beams.position_ids, above.committed) + more)


def _seeing(beams: NextBeams, start: int, stop: int, seen: bool) -> NextBeams:
    visible = beams.visible.clone()
    visible[:, start:stop] = seen
    return replace(beams, visible=visible)


def _in_their_place(beams: NextBeams, above: Above) -> NextBeams:
    """Show each beam the rows of its own rank in place of those above it."""
    visible, rank = beams.visible.clone(), torch.eye(len(beams.inputs), dtype=torch.bool)
    drafted = above.num_rows - above.committed
    if drafted % len(rank) == 0:
        shown = rank.repeat(1, drafted // len(rank)).to(visible.device)
        visible[:, above.committed : above.num_rows] = shown
    return replace(beams, visible=visible)


def _fed_draft_ids(beams: NextBeams, above: Above) -> NextBeams:
    target_ids = above.rows.models.target_from_draft.tolist()
    draft_ids = {int(target): number for number, target in enumerate(target_ids)}
    ids = [draft_ids.get(int(token), int(token)) for token in beams.token_ids]
    return replace(beams, token_ids=beams.token_ids.new_tensor(ids))


def _continuing(beams: NextBeams, hidden: torch.Tensor) -> NextBeams:
    return replace(beams, inputs=hidden.expand_as(beams.inputs))


def _of_the_rank(beams: NextBeams, above: Above) -> NextBeams:
    hidden = above.rows.hidden
    return replace(beams, inputs=hidden[torch.arange(len(beams.token_ids)) % len(hidden)])


BEAMS: Final[tuple[tuple[str, Changed], ...]] = (
    (f"are {_aside(1)}", lambda beams, above: _shifted(beams, above, 1)),
    (f"are {_aside(-1)}", lambda beams, above: _shifted(beams, above, -1)),
    ("of all levels are at the first level's position", lambda beams, above: _at(beams, above, 0)),
    (
        "are placed by their rank",
        lambda beams, above: _at(beams, above, above.level + torch.arange(len(beams.token_ids))),
    ),
    (
        "continue from the first beam's hidden row",
        lambda beams, above: _continuing(beams, above.rows.hidden[:1]),
    ),
    ("continue from the root's hidden row", lambda beams, above: _continuing(beams, above.first.hidden[:1])),
    ("continue from the hidden row of their own rank", _of_the_rank),
    (
        "see each other",
        lambda beams, above: _seeing(beams, above.num_rows, above.num_rows + len(beams.inputs), True),
    ),
    (
        "do not see themselves",
        lambda beams, above: _seeing(beams, above.num_rows, above.num_rows + len(beams.inputs), False),
    ),
    (
        "do not see the beams above them",
        lambda beams, above: _seeing(beams, above.committed, above.num_rows, False),
    ),
    ("see the rows of their own rank, not of the beams above them", _in_their_place),
    ("are fed ids of the draft vocabulary", _fed_draft_ids),
)
"""Mistakes in the rows of a level: a clause, and what it does to them."""


def target_maps(fed: FedDraft) -> Iterator[tuple[str, dict[int, list[int]]]]:
    """Yield mistakes in the map from draft to target ids, as target id to the draft ids that it may be."""
    ids = fed.models.target_from_draft.cpu().numpy()
    numbers = np.arange(len(ids))
    vocab_size = fed.models.teacher.vocab_size
    for clause, told in (
        ("was left out", numbers),
        ("holds ids that were added to the draft id, as if they were offsets", numbers + ids),
        ("holds ids that were added to the draft id, as if they were offsets", (numbers + ids) % vocab_size),
        ("holds offsets that were taken for ids", ids - numbers),
        ("was read one entry too early", np.roll(ids, 1)),
        ("was read one entry too late", np.roll(ids, -1)),
        ("was applied twice", ids[np.minimum(ids, len(ids) - 1)]),
    ):
        stands_for: dict[int, list[int]] = {}
        for draft, target in enumerate(told.tolist()):
            stands_for.setdefault(target, []).append(draft)
        yield f"the true score if the map from draft to target ids {clause}", stands_for
