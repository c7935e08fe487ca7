"""The reference of a run: the truth one precision above it, and samples at its own precision.

Values are fed, state never: every call takes what the path produced before. On the `cached` rung rows of
tokens that were committed before are kept, which saves time and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reference import accept as accept_stage
from reference import tensorize as tensorize_stage
from reference.arithmetic import Arithmetic
from reference.drafters import drafter_of
from reference.drafters.seam import DraftScore
from reference.kept import KeptRung, kept_rung
from reference.model import ReferenceModels
from reference.rungs import CACHED, REPLAY, Rung, rung_named
from reference.search import DraftTruth
from reference.stacked import TreeAt
from reference.teacher import TeacherRows
from reference.tensorize import rows_for
from tracing.models import Experts, ModelPair
from tracing.moment import STAGES
from tracing.run_facts import ModelFacts
from tracing.settings import RUNGS, DecodeSettings
from tracing.stages import (
    Accepted,
    BoolArray,
    Drafted,
    DraftLevel,
    IntArray,
    StageWatch,
    Tensorized,
)
from workbench.lockstep.truth.chosen_experts import forced, run_alike
from workbench.lockstep.truth.ways import DRAWN, cache_rounding, ways_to_compute, why_unable

Models = Sequence[ReferenceModels]
ONE_ABOVE: Final = {"float32": "float64", "bfloat16": "float32", "float16": "float32"}
"""The precision of the truth for each precision of a path under test."""
NEVER_RECORDED: Final = frozenset(
    {
        *("commit_mode", "commit_fallback", "prefix_kept", "slots", "index_sites"),
        *("kv_digest_before", "kv_digest_after", "kv_row_digests"),
        *(f"{stage}_ns" for stage in STAGES),
    }
)
"""Columns that no rung has when it is fed with values."""


@dataclass(frozen=True, slots=True)
class ReferenceStages:
    """The reference as values; a fault replaces one of them.

    Attributes:
        rung: Prefill, draft and verify as pure functions.
        tensorize: `(drafted, committed_len, tree_nodes)`.
        accept: `(tensorized, target_token_ids, remaining, eos_token_ids)`; a chooser's choice if sampled.
    """

    rung: Rung
    tensorize: Callable[[Drafted, int, int], Tensorized] = tensorize_stage.tensorize
    accept: Callable[..., Accepted] = accept_stage.accept


class ReferenceRunner:
    """Runs the reference on the tested path's values.

    Attributes:
        stages: What it runs.
        truth_dtype: One precision above the path under test.
        models: The truth first, then the samples that are drawn at once, at the tested path's dtype.
        model_facts: What is lawful for the model and the path under test.
        unable: Why the numbers of this path cannot be followed; empty where they can.
    """

    def __init__(
        self,
        pair: ModelPair,
        settings: DecodeSettings,
        *,
        path_dtype: str,
        rung: str = RUNGS[0],
        device: str = "cpu",
        num_samples: int = DRAWN[0],
        model_facts: ModelFacts | None = None,
    ) -> None:
        self.settings = settings
        self.model_facts = model_facts or ModelFacts.of_model(pair)
        self.unable = why_unable(self.model_facts)
        self.stages = ReferenceStages(kept_rung() if rung == CACHED.name else rung_named(rung))
        self.truth_dtype = ONE_ABOVE[path_dtype]
        shown, offset = self.model_facts.shown_layer or 0, self.model_facts.rotary_offset
        lawful: dict[str, Any] = {"shown_layer": shown, "rotary_offset": offset}
        natural = ReferenceModels(pair, path_dtype, device, **lawful)
        cache = cache_rounding(self.model_facts)
        truth = ReferenceModels(pair, self.truth_dtype, device, Arithmetic(cache=cache), path_dtype, **lawful)
        self._samples = tuple(
            natural.computing(way, truth if way.rounds_once else None)  # then the truth is in float32
            for way in ways_to_compute(max(*DRAWN, num_samples), path_dtype, cache)
        )
        self.models = (truth, *self._samples[:num_samples])

    @property
    def info(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        return {
            "rung": self.stages.rung.name,
            "dtype": self.truth_dtype,
            "samples": len(self.models) - 1,
            "samples_at_most": len(self._samples),
            "device": str(self.truth.device),
        }

    @property
    def lacks(self) -> frozenset[str]:
        """Columns that a reference fed with values cannot have: no cache, no index sites, no times."""
        unprobed = {"draft_top1_offsets"} if self.stages.rung.name == REPLAY.name else set()
        return NEVER_RECORDED | unprobed

    @property
    def absent(self) -> frozenset[str]:
        """Quantities that no path has with the pair's drafter: features without taps, candidates, a cache."""
        pair = self.truth.pair
        features = frozenset[str]() if pair.feature_width else frozenset({"features"})
        return features if drafter_of(pair).searches else features | {"beam_flat_ids", "kv"}

    @property
    def is_chain(self) -> bool:
        """Whether no tree of the drafter can branch, so that nothing can exercise a tree mask."""
        return drafter_of(self.truth.pair).never_branches(self.settings)

    @property
    def experts(self) -> Experts | None:
        """Experts of the teacher's layers, None where it has none."""
        return self.truth.teacher.experts

    @property
    def truth(self) -> ReferenceModels:
        """The models of the truth."""
        return self.models[0]

    @property
    def target_from_draft(self) -> IntArray:
        """Target token id of each draft token id, int64 `[Vd]`."""
        ids: IntArray = self.truth.target_from_draft.cpu().numpy()
        return ids

    def more(self, drawn: int) -> tuple[ReferenceModels, ...]:
        """The samples to draw next where `drawn` of them do not explain a row; none after the last."""
        wanted = next((number for number in DRAWN if number > drawn), drawn)
        return self._samples[drawn:wanted]

    def prefill(
        self, prompt_token_ids: Sequence[int], models: Models | None = None, *, chosen: Any = None
    ) -> tuple[TeacherRows, ...]:
        """Rows of the prompt by the truth and the first samples, or by `models`; logits of the last row.

        The experts `chosen` work, `[layers, L, num_groups]`; those of the first model in all.
        """
        every = self.models if models is None else models
        prefill = self.stages.rung.prefill
        return run_alike(lambda each, **experts: prefill(each, prompt_token_ids, **experts), every, chosen)

    def features(self, committed: Sequence[int], models: Models) -> tuple[Any, ...]:
        """Tapped features of the committed rows by each model, `[L, F]`."""
        if self.truth.teacher.experts is not None:
            return tuple(each.features for each in self.prefill(committed, models))
        return tuple(self.stages.rung.features(each, committed) for each in models)

    def draft(
        self,
        committed: Sequence[int],
        root: int,
        features: Any,
        levels: Sequence[DraftLevel],
        models: Models | None = None,
        *,
        watch: StageWatch | None = None,
    ) -> tuple[DraftTruth, ...]:
        """True scores of every beam of the path's search; `watch` gets the attention of the first model."""
        if self.stages.rung.search(self.truth) is None:
            return ()
        fed = (committed, root, features, self.settings)
        return tuple(
            self.stages.rung.replay_levels(each, *fed, levels=levels, watch=None if number else watch)
            for number, each in enumerate(self.models if models is None else models)
        )

    def score(
        self,
        committed: Sequence[int],
        root: int,
        features: Any,
        drafted: Drafted,
        models: Models | None = None,
    ) -> tuple[DraftScore, ...]:
        """The path's nodes by each model; empty where the drafter has no scores."""
        fed = (committed, root, features, self.settings)
        every = self.models if models is None else models
        made = (self.stages.rung.score(each, *fed, drafted=drafted) for each in every)
        return tuple(each for each in made if each is not None)

    def free_draft(self, committed: Sequence[int], root: int, features: Any) -> Drafted:
        """The reference's own tree, for a path that has no draft stage."""
        return self.stages.rung.draft(self.truth, committed, root, features, self.settings)

    def propose(self, committed: Sequence[int], root: int, features: Any) -> Drafted | None:
        """The tree that the path has to draft too; None where that is a matter of arithmetic."""
        is_exact = drafter_of(self.truth.pair).is_exact
        return self.free_draft(committed, root, features) if is_exact else None

    def num_draft_draws(self, drafted: Drafted, scores: Sequence[DraftScore]) -> int | None:
        """How many uniforms a draft takes: one a drafted node if sampled; None where that is not known."""
        if scores:
            return 0 if scores[0].law is None else len(drafted.token_ids) - 1
        drafter = drafter_of(self.truth.pair)
        return 0 if drafter.is_exact or drafter.searches else None

    def tensorize(self, drafted: Drafted, committed_len: int, num_rows: int | None = None) -> Tensorized:
        """The static arrays of a draft, in `num_rows` rows if a path has laid it out already."""
        rows = rows_for(drafted, self.settings.tree_nodes) if num_rows is None else num_rows
        made = self.stages.tensorize(drafted, committed_len, rows)
        return replace(made, position_ids=made.position_ids + self.model_facts.rotary_offset)

    def verify(
        self,
        committed: Sequence[int],
        tensorized: Tensorized,
        models: Models | None = None,
        *,
        chosen: Any = None,
    ) -> tuple[TeacherRows, ...]:
        """Rows of the N nodes; the experts `chosen` work, `[layers, L + N, num_groups]`."""
        tree, verify = self._tree(tensorized), self.stages.rung.verify
        every = self.models if models is None else models
        return run_alike(lambda each, **experts: verify(each, committed, *tree, **experts), every, chosen)

    @property
    def stacks(self) -> bool:
        """Whether several trees of one context can run at once: not on other rungs, not with experts."""
        rung = self.stages.rung
        return isinstance(rung, KeptRung) and rung.stacks and self.truth.teacher.experts is None

    def verify_stacked(
        self, committed: Sequence[int], trees: Sequence[tuple[int, Tensorized]], models: Models | None = None
    ) -> tuple[tuple[TeacherRows, ...] | None, ...]:
        """Rows of several trees, each behind so many of the committed tokens, by each model.

        Only where `stacks`; None for a model that gives values that are not finite.
        """
        rung = self.stages.rung
        assert isinstance(rung, KeptRung)
        placed = [TreeAt(length, *self._tree(tree)) for length, tree in trees]
        every = self.models if models is None else models
        return tuple(rung.kept.verify_stacked(each, committed, placed) for each in every)

    def replayed_prefill(self, prompt_token_ids: Sequence[int], *, chosen: Any = None) -> TeacherRows:
        """Prefill by the arbiter."""
        return REPLAY.prefill(self.truth, prompt_token_ids, **forced(chosen))

    def replayed_nodes(
        self, committed: Sequence[int], tensorized: Tensorized, nodes: Iterable[int], *, chosen: Any = None
    ) -> TeacherRows:
        """Some nodes by the arbiter: each node's path as an ordinary causal sequence."""
        from reference import replay

        tree = self._tree(tensorized)
        return replay.verify(self.truth, committed, *tree, nodes=nodes, **forced(chosen))

    def _tree(self, tensorized: Tensorized) -> tuple[IntArray, IntArray, BoolArray]:
        """What verify takes of a tree; positions count from 0 here, the models add the offset."""
        positions = tensorized.position_ids - self.model_facts.rotary_offset
        return tensorized.token_ids, positions, tensorized.visible

    def replayed_score(
        self, committed: Sequence[int], root: int, features: Any, drafted: Drafted
    ) -> DraftScore | None:
        """A draft's nodes by the arbiter."""
        return REPLAY.score(self.truth, committed, root, features, self.settings, drafted=drafted)

    def replayed_draft(
        self, committed: Sequence[int], root: int, features: Any, levels: Sequence[DraftLevel]
    ) -> DraftTruth:
        """A draft by the arbiter: each beam as its own causal sequence."""
        return REPLAY.replay_levels(self.truth, committed, root, features, self.settings, levels=levels)
