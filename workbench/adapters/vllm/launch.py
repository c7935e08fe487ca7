"""What is kept of one launch: the scheduler's half and the worker's half, joined by its number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.adapters.vllm.copies import AnyCopy, as_array

Kept = AnyCopy | NDArray[np.generic]
"""On its way to the host, or there already."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """Draft tokens as the drafter gave them.

    Attributes:
        names: Requests, in the order of the batch in which they were drafted, `[R]`.
        tokens: `[R, drafts]`; or those of all requests one after the other.
        counts: In the second case how many each request has, `[R]`.
    """

    names: tuple[str, ...]
    tokens: Kept
    counts: NDArray[np.generic] | None = None

    @property
    def by_name(self) -> dict[str, NDArray[Any]]:
        """The tokens of each request."""
        tokens = as_array(self.tokens)
        rows = tokens if self.counts is None else np.split(tokens, np.cumsum(self.counts)[:-1])
        return dict(zip(self.names, rows, strict=False))


@dataclass(slots=True)
class Planned:
    """What the scheduler decided for one request of a launch.

    Attributes:
        epoch: Preemptions of the request so far.
        is_chunk: More of its context follows; what is sampled is thrown away.
        is_decode: It has emitted a token before.
        num_drafts: Draft tokens that are verified.
        blocks: Ids per KV group: all of them, or those appended; None where nothing changed.
        is_whole: `blocks` are all of them: the first launch of an epoch.
        num_cached: Context tokens found in the cache, on the first launch of an epoch.
    """

    epoch: int
    is_chunk: bool
    is_decode: bool
    num_drafts: int
    blocks: Any = None
    is_whole: bool = False
    num_cached: int | None = None


@dataclass(slots=True)
class LaunchInputs:
    """What the attention of a launch was given.

    Attributes:
        request_ids: In the order of the batch, `[R]`.
        query_starts: First query row of each request, `[R+1]` or longer.
        kv_lens: `[R]` or longer, on the device.
        kv_lens_host: The host's mirror of them, `[R]` or longer.
        committed: Tokens in the cache before the launch, `[R]` or longer.
        token_ids, position_ids: `[T]` or longer.
        tables: Block table per KV group, each `[R, B]`.
        slots: Per KV group, each `[T]` or longer.
        block_sizes: Of the kernel, per KV group.
        kernel: Name of the attention metadata.
        is_causal: The kernel was told so.
        num_tokens_padded, num_reqs_padded: Sizes of the launch, padding included.
        graph_mode: In the engine's word, or empty.
        proposed: Draft tokens as the drafter gave them, or None.
    """

    request_ids: tuple[str, ...]
    query_starts: Kept
    kv_lens: Kept
    kv_lens_host: Any
    committed: Any
    token_ids: Kept
    position_ids: Kept
    tables: tuple[Kept, ...]
    slots: tuple[Kept, ...]
    block_sizes: tuple[int, ...]
    kernel: str
    is_causal: bool = True
    num_tokens_padded: int | None = None
    num_reqs_padded: int | None = None
    graph_mode: str = ""
    proposed: Proposed | None = None


@dataclass(slots=True)
class Logits:
    """What the sampler of a launch was given.

    Attributes:
        num_rows: Rows of logits of each request, `[R]`.
        top_ids, top_logits: `[sum of rows, K]`, best first.
        is_masked: A grammar has been applied.
        temperature, top_k, top_p: As the sampler got them, `[R]`, or None where the batch has none.
    """

    num_rows: Any
    top_ids: Kept
    top_logits: Kept
    is_masked: bool = False
    temperature: Kept | None = None
    top_k: Kept | None = None
    top_p: Kept | None = None


@dataclass(slots=True)
class RequestEnd:
    """How a launch ended for one request.

    Attributes:
        sampled: Tokens that the engine committed; empty for a chunk.
        emitted: Tokens that the user got.
        stop_reason: In the words of the trace, or None.
        is_withdrawn: The request was finished or aborted before its results came.
        committed_after: The scheduler's count afterwards, where it can be read.
        context: Token ids before the launch, where this is the request's first step.
        logprobs: Of each emitted token, or None.
    """

    sampled: tuple[int, ...] = ()
    emitted: tuple[int, ...] = ()
    stop_reason: str | None = None
    is_withdrawn: bool = False
    committed_after: int | None = None
    context: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None
