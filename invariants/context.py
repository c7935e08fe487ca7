"""What a rule may know in addition to the step: limits of the run, from its settings and models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tracing.run_facts import ModelFacts, RequestLimits, SamplingSettings
from tracing.settings import SEARCH_SETTINGS, DecodeSettings

if TYPE_CHECKING:
    from tracing.models import ModelPair


@dataclass(frozen=True, slots=True)
class RunContext:
    """Facts of the whole run; None where not known, and then rules that need it are not checked.

    Attributes:
        vocab_size: V of the teacher.
        eos_token_ids: Tokens that end a turn.
        max_new_tokens: Tokens that a turn may emit, the first root included.
        max_positions: Rows of the rotary table; positions stay below it.
        kv_capacity: Rows that the cache can hold, logical.
        num_slots: Physical slots of a paged cache.
        block_size: Tokens per block of a paged cache.
        null_block: Block of a paged cache that holds nothing; padding is written there.
        max_tree_nodes: N that was asked for.
        max_tree_depth: Depth of the deepest node that the settings allow.
        top_k: Beams kept per level.
        asked_commit_mode: Commit mode that was asked for.
        acceptance: Rule of acceptance; laws of greedy acceptance apply to `greedy` only.
        model_facts: What is lawful for the model and the engine: windows, rotary offset, rounded cache.
        request_offsets: Rotary offsets of requests that have one of their own, by request id.
        request_sampling: How requests choose, by request id; the empty id for all others.
        request_limits: Where requests end, likewise.
        records_stop_reason: False where the engine gives no reason at the end of a turn, or may not.
    """

    vocab_size: int | None = None
    eos_token_ids: frozenset[int] | None = None
    max_new_tokens: int | None = None
    max_positions: int | None = None
    kv_capacity: int | None = None
    num_slots: int | None = None
    block_size: int | None = None
    null_block: int | None = None
    max_tree_nodes: int | None = None
    max_tree_depth: int | None = None
    top_k: int | None = None
    asked_commit_mode: str | None = None
    acceptance: str = "greedy"
    model_facts: ModelFacts | None = None
    request_offsets: Mapping[str, int] = field(default_factory=dict)
    request_sampling: Mapping[str, SamplingSettings] = field(default_factory=dict)
    request_limits: Mapping[str, RequestLimits] = field(default_factory=dict)
    records_stop_reason: bool = True

    @classmethod
    def from_settings(
        cls,
        settings: DecodeSettings,
        pair: ModelPair | None = None,
        *,
        kv_capacity: int | None = None,
        num_slots: int | None = None,
        reads: Collection[str] = SEARCH_SETTINGS,
        model_facts: ModelFacts | None = None,
    ) -> RunContext:
        """Return what the settings say, plus what only the models, the drafter and caches know.

        A setting that is not among those that the drafter `reads` says nothing about its trees.
        """
        return cls(
            vocab_size=None if pair is None else pair.teacher.vocab_size,
            eos_token_ids=None if pair is None else pair.eos_token_ids,
            max_new_tokens=settings.max_new_tokens,
            max_positions=None if pair is None else pair.teacher.max_position_embeddings,
            kv_capacity=kv_capacity,
            num_slots=num_slots,
            block_size=settings.block_size if settings.kv_layout == "paged" else None,
            max_tree_nodes=settings.tree_nodes,
            max_tree_depth=settings.deepest(reads),
            top_k=settings.top_k if "top_k" in reads else None,
            asked_commit_mode=settings.commit_mode,
            acceptance=settings.acceptance,
            model_facts=model_facts,
        ).with_null_block()

    def with_null_block(self) -> RunContext:
        """Return these facts with the null block of the model's first KV group, unless they have their own.

        Its block size comes along: a block is one of the manager's, and its slots are neighbours.
        """
        groups = () if self.model_facts is None else self.model_facts.kv_groups
        if self.null_block is not None or not groups or groups[0].null_block is None:
            return self
        return replace(self, null_block=groups[0].null_block, block_size=groups[0].manager_block_size)
