"""What a real engine is asked to do: one engine a job, several runs in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engines.pair import DRAFT_MODEL, MEDUSA
from engines.prepared import EVERYWHERE

ENVIRONMENT: Final[Mapping[str, str]] = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
"""An engine in one process on a busy CPU."""
COMMON: Final[Mapping[str, Any]] = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 256,
    "max_num_seqs": 4,
    "block_size": 32,
    "max_num_batched_tokens": 80,
    "seed": 0,
}
"""Four of six requests at a time, prompts in chunks of at most 80 tokens."""
PREFIX: Final = """import heapq
from collections import deque


class Graph:
    def __init__(self, size):
        self.size = size
        self.edges = [[] for _ in range(size)]

    def add_edge(self, start, end, weight=1):
        self.edges[start].append((end, weight))
        self.edges[end].append((start, weight))

"""
PREFIX_TOKENS: Final = 64
"""Of these texts so many tokens are shared: two blocks of the cache, after which the texts differ."""
TAIL: Final = "    def merge(self, left, right):\n        result = []\n        while left and right:\n"
PROMPTS: Final = (
    (True, TAIL + "            if left[0] < right[0]:\n                result.append(left.pop(0))\n"),
    (True, "        return self.size\n\n    def distance(self, start, end):\n"),
    (False, "def f(x):\n    return"),
    (False, "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n"),
    (True, "    # breadth first\n" + TAIL + "            smaller = left if left[0] <= right[0] else right\n"),
    (False, "import os\nfor i in range(3):\n    print(i)\n"),
)
"""Whether a prompt begins with the prefix, and what follows."""
MAX_TOKENS: Final = (40, 60, 80, 50, 33, 70)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An engine that is started once.

    Attributes:
        name: For the report and the folders of its runs.
        proposer: Method of its `speculative_config`; empty: plain decoding.
        drafter: Kind of the checkpoint that it loads, shipped, `DRAFT_MODEL` or `MEDUSA`, or empty.
        options: Arguments of the engine besides `COMMON`.
        runs: Temperature of each request, run by run.
        prepared: What is done to the engine before it starts, by a word of `engines.prepared`.
        environment: Variables besides `ENVIRONMENT`.
        verdict: What `specwb check` should say of the recording.
        loses: A file of the recording, as a pattern; without it the recording should be inconclusive.
    """

    name: str
    proposer: str = ""
    drafter: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    runs: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: {"greedy": (0.0,) * len(PROMPTS)})
    prepared: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    verdict: str = "ok"
    loses: str = ""

    def engine_options(self, teacher: str, drafter: str) -> dict[str, Any]:
        """Return the arguments of `vllm.LLM`."""
        speculative: dict[str, Any] = {"method": self.proposer, "num_speculative_tokens": 4}
        if self.proposer == "ngram":
            speculative |= {"prompt_lookup_max": 3, "prompt_lookup_min": 1}
        if self.drafter:
            own = Path(teacher).with_name(self.drafter)
            speculative["model"] = str(own) if self.drafter in (DRAFT_MODEL, MEDUSA) else drafter
        more = {"speculative_config": speculative} if self.proposer else {}
        return {"model": teacher, **COMMON, **self.options, **more}


GREEDY: Final = (0.0,) * len(PROMPTS)
MIXED: Final = (0.0, 0.8, 0.0, 1.0, 0.0, 0.0)
PREEMPTED: Final = {"num_gpu_blocks_override": 12}
"""Too few blocks for four requests: some are preempted and computed again."""
SECOND: Final[Mapping[str, Any]] = {
    "prepared": ("second_runner",),
    "environment": {"TRITON_INTERPRET": "1", "VLLM_USE_V2_MODEL_RUNNER": "1"},
}
"""Model runner V2, whose kernels Triton's interpreter runs on a CPU."""
PROCESSES: Final[Mapping[str, Any]] = {"environment": {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}}
"""Front end, engine core and workers are processes of their own, as under `vllm serve`."""
EAGLE: Final[Mapping[str, Any]] = {"proposer": "eagle3", "drafter": "eagle3"}
MENDED: Final = "expanded_in_place"
"""Without it every run that samples has a finding, since the CPU build loses sampling values."""
TWO_RANKS: Final[Mapping[str, Any]] = {**PROCESSES, "options": {"tensor_parallel_size": 2}}
JOBS: Final = (
    Job(name="plain"),
    Job(name="tensor-parallel", **EAGLE, **TWO_RANKS, loses="worker-*tp1*"),
    Job(
        name="one-rank-records",
        **EAGLE,
        environment={**PROCESSES["environment"], EVERYWHERE: "one_rank_records"},
        options=TWO_RANKS["options"],
        verdict="inconclusive",
    ),
    Job(name="processes", **EAGLE, **PROCESSES),
    Job(
        name="processes-ring",
        **EAGLE,
        environment={**PROCESSES["environment"], "SPECWB_TRACE_MODE": "ring"},
        options={"distributed_executor_backend": "mp"},
    ),
    Job(name="ngram", proposer="ngram", runs={"greedy": GREEDY, "again": GREEDY}),
    Job(name="eagle3", **EAGLE, runs={"greedy": GREEDY, "again": GREEDY}),
    Job(name="draft-model", proposer="draft_model", drafter=DRAFT_MODEL),
    Job(name="medusa", proposer="medusa", drafter=MEDUSA),
    Job(name="eagle3-preempted", **EAGLE, options=PREEMPTED),
    Job(name="eagle3-async", **EAGLE, prepared=("asynchronous",), options=PREEMPTED),
    Job(name="eagle3-mixed", **EAGLE, prepared=(MENDED,), runs={"mixed": MIXED}),
    Job(name="eagle3-mixed-async", **EAGLE, prepared=(MENDED, "asynchronous"), runs={"mixed": MIXED}),
    Job(name="second", **EAGLE, **SECOND),
    Job(name="second-preempted", **EAGLE, **SECOND, options=PREEMPTED),
    Job(name="second-mixed", **EAGLE, **SECOND, runs={"mixed": MIXED}),
    Job(
        name="second-async",
        **EAGLE,
        prepared=("second_runner", "asynchronous"),
        environment=SECOND["environment"],
        options=PREEMPTED,
    ),
    Job(
        name="second-mixed-async",
        **EAGLE,
        prepared=("second_runner", "asynchronous"),
        environment=SECOND["environment"],
        runs={"mixed": MIXED},
    ),
)
"""The first is plain decoding, whose text all others should have."""
