"""Settings of one decoding run, the same words for both paths, and the allowed values of every option.

The allowed values are `Literal` types: validated here and by whoever builds a path, read by the command line.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from tracing.errors import UsageError

Proposer = Literal["eagle3", "medusa", "lookup", "draft_model"]
Acceptance = Literal[
    "greedy",
    "eagle",
    "match",
    "rejection",
    "specinfer",
    "rsd",
    "block",
    "medusa_typical",
    "medusa_nucleus",
]
CommitMode = Literal["fast_reorder", "full_reorder", "length"]
KvLayout = Literal["contiguous", "paged"]
Replication = Literal["incremental", "deepcopy"]
Device = Literal["auto", "cpu", "cuda", "npu"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
EagerOperator = Literal["attention", "norm", "rotary", "swiglu", "scatter", "linear"]
StopReason = Literal["eos", "length", "stop_token", "stop_string"]
LookupRule = Literal["transformers", "vllm"]
RungName = Literal["cached", "masked", "replay"]
BackendName = Literal["auto", "device", "wheel", "schemas"]

PROPOSERS: Final[tuple[str, ...]] = get_args(Proposer)
"""Kinds of drafters, as the trace and the command line name them."""
ACCEPTANCES: Final[tuple[str, ...]] = get_args(Acceptance)
"""Rules by which tokens are chosen; all but `greedy` need draws."""
DRAWN_DRAFTS: Final = ("rejection", "specinfer", "rsd", "block")
"""Rules that are exact only for drafts drawn from the drafter's law, which they are given."""
CHAINS: Final = ("rejection", "block")
"""Rules for drafts without branches."""
COMMIT_MODES: Final[tuple[str, ...]] = get_args(CommitMode)
KV_LAYOUTS: Final[tuple[str, ...]] = get_args(KvLayout)
REPLICATIONS: Final[tuple[str, ...]] = get_args(Replication)
DEVICES: Final[tuple[str, ...]] = get_args(Device)
DTYPES: Final[tuple[str, ...]] = get_args(Dtype)
"""Dtypes of a path under test; `auto` depends on the device."""
EAGER_OPERATORS: Final[tuple[str, ...]] = get_args(EagerOperator)
"""Operators that can be switched to eager, each alone; `linear`: products take their weights as given."""
FUSED_OPERATORS: Final = tuple(name for name in EAGER_OPERATORS if name != "linear")
"""Those that are fused operators of the device."""
STOP_REASONS: Final[tuple[str, ...]] = get_args(StopReason)
"""Why a turn ends; each means that its last step was cut."""
STOP_WORDS: Final = ("stop_token", "stop_string")
"""Stop reasons that the engine alone knows, from the stop tokens and texts of the request."""
AS_IS: Final = "as-is"
"""Weights of a teacher as its checkpoint holds them; `workbench.checkpoints.quantised` reads other words."""
LOOKUP_RULES: Final[tuple[str, ...]] = get_args(LookupRule)
"""Whose prompt lookup: see `DecodeSettings.lookup_rule`."""
RUNGS: Final[tuple[str, ...]] = get_args(RungName)
"""Rungs of the reference, the default first."""


MAX_TREE_NODES: Final = 4096
"""Largest N; `visible` of a step has N x N entries, on either side and in its row."""
USUAL_TREE_NODES: Final[Mapping[str, int]] = {"eagle3": 60, "lookup": 11, "draft_model": 12}
"""N of a run that states none, by kind of drafter."""
SEARCH_SETTINGS: Final = ("depth", "top_k", "window", "stop_below")
"""Settings of a beam search."""
LOOKUP_SETTINGS: Final = ("lookup_rule", "lookup_min", "lookup_max")
"""Settings of prompt lookup."""
SAMPLING_SETTINGS: Final = ("temperature", "sampling_top_k", "top_p")
"""Settings that only a rule that samples reads."""
DRAFT_SETTINGS: Final = (*SEARCH_SETTINGS, *LOOKUP_SETTINGS, "static_tree")
"""Settings that not every drafter reads; all read `tree_nodes`."""


def require_one_of(name: str, value: object, allowed: Collection[str]) -> None:
    """Refuse a value that is not allowed.

    Raises:
        UsageError: Names the option, the allowed values and the one that came.
    """
    if value not in allowed:
        choices = list(allowed)
        listed = " or ".join(choices) if len(choices) == 2 else f"one of {', '.join(choices)}"
        raise UsageError(f"{name} should be {listed}, got {value!r}")


def require_operators(names: Set[str]) -> None:
    """Refuse names that are no `EAGER_OPERATORS`.

    Raises:
        UsageError: Names the unknown ones.
    """
    unknown = sorted(set(names).difference(EAGER_OPERATORS))
    if unknown:
        raise UsageError(
            f"eager operators should be among {', '.join(EAGER_OPERATORS)}, got {', '.join(unknown)}"
        )


_LEAST: Final = {
    "tree_nodes": 2,
    "depth": 0,
    "top_k": 1,
    "max_new_tokens": 1,
    "lookup_min": 1,
    "lookup_max": 1,
    "sampling_top_k": 0,
}


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """How a run decodes.

    Attributes:
        tree_nodes: N, nodes of the tree including the root (the official `total_token`).
        depth: Expansions after the first level; the deepest node has depth `depth + 1`.
        top_k: Beams kept per level and candidates scored per beam.
        max_new_tokens: Tokens to emit per turn, the first root included; never exceeded.
        top_logits: K, teacher logits recorded per node.
        commit_mode: `fast_reorder` (prefix sharing, falls back), `full_reorder` or `length`.
        kv_layout: `contiguous` or `paged`.
        block_size: Tokens per block of the paged layout.
        window: Drafter-only attention window in tokens; 0 is none.
        stop_below: A search ends before a level whose best beam has a lower probability than this; 0: never.
        lookup_rule: Whose prompt lookup: the first place of the longest n-gram; `transformers` stops before
            an end-of-sequence token, `vllm` does not.
        lookup_min, lookup_max: Shortest and longest n-gram; `transformers` reads the longest alone.
        static_tree: Tree of the Medusa heads, by name or as paths (`tracing.static_tree`).
        acceptance: Rule by which roots and accepted paths are chosen, out of `ACCEPTANCES`.
        temperature: What logits are divided by before a softmax, above 0; not read by `greedy`.
        sampling_top_k: Tokens that may be sampled, 0 for all; more where the last one's logit has equals.
        top_p: The most likely tokens that together have this probability may be sampled, above 0 up to 1.

    Raises:
        UsageError: A value that is not allowed.
    """

    tree_nodes: int = USUAL_TREE_NODES["eagle3"]
    depth: int = 7
    top_k: int = 10
    max_new_tokens: int = 128
    top_logits: int = 8
    commit_mode: str = "fast_reorder"
    kv_layout: str = "contiguous"
    block_size: int = 128
    window: int = 0
    stop_below: float = 0.0
    lookup_rule: str = "transformers"
    lookup_min: int = 1
    lookup_max: int = 2
    static_tree: str = "mc_sim_7b_63"
    acceptance: str = "greedy"
    temperature: float = 1.0
    sampling_top_k: int = 0
    top_p: float = 1.0

    @property
    def is_greedy(self) -> bool:
        """Whether no token is chosen by chance."""
        return self.acceptance == "greedy"

    def deepest(self, reads: Collection[str]) -> int:
        """Return the greatest depth of a node in trees of a drafter that reads these settings."""
        return self.depth + 1 if "depth" in reads else self.tree_nodes - 1

    @property
    def stop_score(self) -> float:
        """Cumulative log-probability of a best beam below which a search ends."""
        return math.log(self.stop_below) if self.stop_below else -math.inf

    def as_read(self, reads: Collection[str]) -> dict[str, Any]:
        """Return all settings by name, those of drafting and sampling only where something reads them."""
        unread = set(DRAFT_SETTINGS).difference(reads)
        if self.is_greedy:
            unread.update(SAMPLING_SETTINGS)
        return {name: value for name, value in asdict(self).items() if name not in unread}

    def __post_init__(self) -> None:
        if self.tree_nodes > MAX_TREE_NODES:
            raise UsageError(
                f"tree_nodes should be at most {MAX_TREE_NODES}: who sees whom is a square of them, "
                f"got {self.tree_nodes}"
            )
        for name, low in _LEAST.items():
            if getattr(self, name) < low:
                raise UsageError(f"{name} should be at least {low}, got {getattr(self, name)}")
        if not 0 < self.temperature < math.inf:
            raise UsageError(
                f"temperature should be above 0 where tokens are sampled, got {self.temperature}"
            )
        if not 0 <= self.stop_below < 1:
            raise UsageError(f"stop_below should be a probability below 1, got {self.stop_below}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p should be above 0 and up to 1, got {self.top_p}")
        require_one_of("lookup_rule", self.lookup_rule, LOOKUP_RULES)
        require_one_of("acceptance", self.acceptance, ACCEPTANCES)
        require_one_of("commit_mode", self.commit_mode, COMMIT_MODES)
        require_one_of("kv_layout", self.kv_layout, KV_LAYOUTS)
