"""Facts of a run that its manifest holds once: what a request may do, and what is lawful for the model.

Sections of `manifest.json` (format 1.1): `requests` maps a request id to its limits and sampling settings,
the empty id to those of every other request; `model_facts` holds `ModelFacts`. Both may be missing.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from tracing.errors import UsageError
from tracing.manifest_facts import read_facts, table
from tracing.philox import GENERATOR_NAMES
from tracing.settings import ACCEPTANCES, Acceptance, require_one_of
from tracing.spans import FULL, Reach

if TYPE_CHECKING:
    from tracing.models import ModelPair

KvKind = Literal["full", "sliding_window", "chunked", "latent", "state"]
HostLength = Literal["exact", "bound"]
LogprobsMode = Literal["", "raw_logprobs", "processed_logprobs", "raw_logits", "processed_logits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KvGroup:
    """Layers that share one block table; groups are compared by block, never by slot number.

    Attributes:
        layers: Their numbers.
        kind: What the group keeps per token.
        window: Tokens that a query sees, 0 for all.
        manager_block_size, kernel_block_size: Tokens per block of the block manager and of the kernel.
        null_block: Block that holds nothing (padding is written there), or None.
        cp_interleave: Neighbouring tokens on one rank of context parallelism.
        cp_size: Ranks of context parallelism that a request's tokens are spread over.
    """

    layers: tuple[int, ...]
    kind: KvKind = "full"
    window: int = 0
    manager_block_size: int
    kernel_block_size: int
    null_block: int | None = None
    cp_interleave: int = 1
    cp_size: int = 1

    def __post_init__(self) -> None:
        require_one_of("kind", self.kind, typing.get_args(KvKind))
        for name in ("manager_block_size", "kernel_block_size", "cp_interleave", "cp_size"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _require(self.window >= 0, "window", "at least 0", self.window)
        whole = self.manager_block_size % self.kernel_block_size == 0
        _require(whole, "kernel_block_size", "a divisor of manager_block_size", self.kernel_block_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is lawful for this model and engine, although it would be a fault elsewhere.

    Attributes:
        windows: Attention window of each layer in tokens, 0 for none; empty where no layer has one, or
            where `kv_groups` say it.
        chunked_layers: Layers whose window is a chunk: a query sees its own chunk of the context only.
        num_sinks: First tokens of the context that no window hides.
        shown_layer: Layer whose mask `visible` and `prefix_visible` show; None where that is not known.
        drafter_window: Attention window of the drafter in tokens, 0 for none.
        rotary_offset: Added to every rotary position.
        cache_dtype: Dtype to which K and V are rounded in the cache, e.g. `float8_e4m3fn` or `int8`; empty
            where they stay as computed.
        cache_scale: What a stored number stands for; 0 is 1, and for `int8` a scale of each row's own.
        constrained_choice: A grammar or bias may change the teacher's choice.
        routing_by_batch: Which experts work on a row depends on the other rows of the launch too.
        kv_groups: Groups of the KV cache, group 0 first; empty for a single one without blocks.
        host_lengths: How the operator reads the host's KV length, by a word of `kernel` (empty: all others).
        num_experts: Experts of a layer, without shared ones; 0 for none, or where it is not known.
        expert_groups: Groups of which each token gets one expert; 0 where experts are chosen otherwise.
    """

    windows: tuple[int, ...] = ()
    chunked_layers: tuple[int, ...] = ()
    num_sinks: int = 0
    shown_layer: int | None = None
    drafter_window: int = 0
    rotary_offset: int = 0
    cache_dtype: str = ""
    cache_scale: float = 0.0
    constrained_choice: bool = False
    routing_by_batch: bool = False
    kv_groups: tuple[KvGroup, ...] = ()
    host_lengths: Mapping[str, HostLength] = field(default_factory=dict)
    num_experts: int = 0
    expert_groups: int = 0

    def __post_init__(self) -> None:
        _require(all(window >= 0 for window in self.windows), "windows", "at least 0", self.windows)
        for how in self.host_lengths.values():
            require_one_of("host_lengths", how, typing.get_args(HostLength))
        for name in ("num_sinks", "drafter_window", "cache_scale", "num_experts", "expert_groups"):
            _require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        whole = not self.expert_groups or self.num_experts % self.expert_groups == 0
        _require(whole, "expert_groups", "a divisor of num_experts", self.expert_groups)
        layers = len(self.windows)
        if layers:
            for layer in (*self.chunked_layers, *(() if self.shown_layer is None else (self.shown_layer,))):
                _require(0 <= layer < layers, "a layer", f"in 0..{layers - 1}", layer)

    @classmethod
    def of_model(
        cls, pair: ModelPair, path: ModelFacts | None = None, *, drafter_window: int = 0
    ) -> ModelFacts:
        """Return what the checkpoint says of windows and experts, and all else as the path states it.

        Of the drafter's window in the checkpoint and `drafter_window` of the settings the narrower holds.
        """
        windows, experts = pair.teacher.windows, pair.teacher.experts
        limits = [each for each in (drafter_window, getattr(pair.drafter, "window", 0)) if each]
        stated = path or cls()
        if experts is not None:
            stated = replace(stated, num_experts=experts.num_experts, expert_groups=experts.num_groups)
        return replace(stated, windows=windows if any(windows) else (), drafter_window=min(limits, default=0))

    @property
    def spans(self) -> tuple[Reach, ...]:
        """What each layer lets a query see; empty where every layer lets it see all."""
        if self.windows:
            chunked = frozenset(self.chunked_layers)
            return tuple(Reach(w, i in chunked, self.num_sinks) for i, w in enumerate(self.windows))
        by_layer = {
            layer: Reach(group.window, group.kind == "chunked", self.num_sinks)
            for group in self.kv_groups
            for layer in group.layers
        }
        return tuple(by_layer[layer] for layer in sorted(by_layer))

    @property
    def shown_spans(self) -> tuple[Reach, ...]:
        """What `visible` and `prefix_visible` may show; several where the layer is not known."""
        spans = self.spans
        if not spans:
            return (FULL,)
        if self.shown_layer is not None and self.shown_layer < len(spans):
            return (spans[self.shown_layer],)
        return tuple(dict.fromkeys(spans))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Where a request ends.

    Attributes:
        max_new_tokens: Tokens that it may emit, or None where not known.
        max_model_len: Tokens of context and text together, or None where not known.
        stop_token_ids: Tokens that end it, besides the model's own.
        stop_strings: Texts that end it.
        ignore_eos: The model's own end-of-sequence tokens do not end it.
        min_new_tokens: Tokens that it must emit before any token ends it.
    """

    max_new_tokens: int | None = None
    max_model_len: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()
    ignore_eos: bool = False
    min_new_tokens: int = 0

    def __post_init__(self) -> None:
        _require(self.min_new_tokens >= 0, "min_new_tokens", "at least 0", self.min_new_tokens)
        for name, value in (("max_new_tokens", self.max_new_tokens), ("max_model_len", self.max_model_len)):
            _require(value is None or value >= 1, name, "at least 1", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """How a request chooses.

    Attributes:
        temperature: 0 is greedy.
        top_k: Tokens that remain, 0 for all.
        top_p: Probability that remains, above 0 and up to 1.
        min_p: Share of the largest probability that a token needs, 0 for none.
        seed: Of the request, or None.
        acceptance: Rule by which drafted tokens are accepted.
        generator: What the draws of the seed are, out of `tracing.philox.GENERATORS`; empty: not known.
        draw_order: Recorded draws come in the order of their `use`, or one a `node`, at the node's number.
        logprobs_mode: What `emitted_logprobs` are: of the model's logits (raw), or of those that the sampler
            chose from (processed), or the logits themselves; empty: not known.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    acceptance: Acceptance = "greedy"
    generator: str = ""
    draw_order: Literal["use", "node"] = "use"
    logprobs_mode: LogprobsMode = ""

    def __post_init__(self) -> None:
        require_one_of("logprobs_mode", self.logprobs_mode, typing.get_args(LogprobsMode))
        require_one_of("acceptance", self.acceptance, ACCEPTANCES)
        require_one_of("generator", self.generator, ("", *GENERATOR_NAMES))
        require_one_of("draw_order", self.draw_order, ("use", "node"))
        _require(self.temperature >= 0, "temperature", "at least 0", self.temperature)
        _require(self.top_k >= 0, "top_k", "at least 0", self.top_k)
        _require(0 < self.top_p <= 1, "top_p", "above 0 and up to 1", self.top_p)
        _require(0 <= self.min_p <= 1, "min_p", "from 0 to 1", self.min_p)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """Limits and sampling settings of one request.

    Attributes:
        limits: Where it ends.
        sampling: How it chooses.
        rotary_offset: Added to each of its rotary positions, as pictures in a prompt do; None: the model's.
    """

    limits: RequestLimits = field(default_factory=RequestLimits)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    rotary_offset: int | None = None


def limits_of(
    request_limits: Mapping[str, RequestLimits] | None, request_id: str | None
) -> RequestLimits | None:
    """Return the limits of a request: by its id, else those of every request; None where not known."""
    known = request_limits or {}
    return known.get(request_id or "", known.get(""))


def model_facts_of(manifest: Mapping[str, Any]) -> ModelFacts | None:
    """Return the facts of the model; None where the manifest has none.

    Raises:
        TraceError: A fact is there and is not of its kind.
    """
    section = manifest.get("model_facts")
    return None if section is None else read_facts(ModelFacts, section, "model_facts")


def request_facts_of(manifest: Mapping[str, Any], request_id: str = "") -> RequestFacts | None:
    """Return the facts of a request, or else those of every request; None where the manifest has neither.

    Raises:
        TraceError: A fact is there and is not of its kind.
    """
    section = table(manifest, "requests")
    found = section.get(request_id, section.get(""))
    return None if found is None else read_facts(RequestFacts, found, f"requests.{request_id or 'all'}")


def _require(holds: bool, name: str, expected: str, value: Any) -> None:
    if not holds:
        raise UsageError(f"{name} should be {expected}, got {value}")
