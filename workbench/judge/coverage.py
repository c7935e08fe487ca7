"""What a run exercised: counters over steps; each zero is reported as `not exercised`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import numpy as np

from workbench.judge.ancestry import accepted_walk
from workbench.judge.evidence import AcceptEvidence, CommitEvidence, StepEvidence
from workbench.judge.notes import NearTie

COUNTERS: Final[dict[str, str]] = {
    "steps": "steps judged",
    "rejections": "steps in which a drafted continuation was rejected",
    "acceptances": "steps that accepted at least one draft node",
    "long_acceptances": "steps that accepted at least two draft nodes",
    "branches": "steps whose tree has a node with two children",
    "pads": "steps with pad rows",
    "commit_length": "commits by length",
    "commit_full_reorder": "commits by full reorder",
    "commit_fast_reorder": "commits by prefix-sharing fast reorder",
    "commit_fallbacks": "commits that fell back to another mode than the asked one",
    "moved_rows": "commits that had to move a row",
    "long_kv": "steps with more than 512 KV columns",
    "block_boundaries": "commits that crossed a cache block boundary",
    "eos": "turns ended by EOS",
    "length_limit": "turns ended by the length limit",
    "cut_steps": "steps whose accepted path was cut at EOS or at the limit",
    "later_turns": "steps of a turn after the first",
    "choice_near_ties": "near ties of a teacher's choice",
    "tree_near_ties": "near ties inside a draft (candidate, beam, node)",
}
"""Counter to what it counts."""
REQUIRED: Final = ("rejections", "branches")
"""What could have happened in every tree run and must have."""
LONG_KV: Final = 512
"""KV columns beyond which attention kernels take another tiling path."""


def count_step(evidence: StepEvidence, near_ties: tuple[NearTie, ...] = ()) -> Counter[str]:
    """Return the counters of one judged step."""
    count: Counter[str] = Counter(steps=1, later_turns=int(evidence.moment.turn > 0))
    walked = evidence.accept or evidence.walked
    if walked is not None:
        count.update(_count_tree(walked))
    if evidence.commit is not None:
        count.update(_count_commit(evidence.commit, evidence.block_size))
    for near_tie in near_ties:
        count["choice_near_ties" if near_tie.kind in {"choice", "root"} else "tree_near_ties"] += 1
    return count


def not_exercised(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return the names of all counters that are zero, in the table's order."""
    return tuple(name for name in COUNTERS if not counts.get(name, 0))


def _count_tree(accept: AcceptEvidence) -> Counter[str]:
    parents, valid = accept.tree.parents, accept.tree.valid
    children = Counter(int(parents[node]) for node in range(1, len(parents)) if valid[node])
    stop = None if accept.fused is None else accept.fused.stop_reason
    walk = accepted_walk(accept.tree, accept.target_token_ids)
    if not accept.is_greedy and accept.fused is not None:  # where a cut path led is not recorded
        walk = [int(node) for node in accept.fused.accepted_nodes]
    num_accepted = len(walk) if accept.fused is None else len(accept.fused.accepted_nodes)
    return Counter(
        rejections=int((accept.is_greedy or stop is None) and children[walk[-1] if walk else 0] > 0),
        acceptances=int(num_accepted >= 1),
        long_acceptances=int(num_accepted >= 2),
        branches=int(max(children.values(), default=0) >= 2),
        pads=int(not valid.all()),
        eos=int(stop == "eos"),
        length_limit=int(stop == "length"),
        cut_steps=int(num_accepted < len(walk) if accept.is_greedy else stop is not None),
        long_kv=int(accept.committed_len + len(parents) > LONG_KV),
    )


def _count_commit(commit: CommitEvidence, block_size: int) -> Counter[str]:
    count: Counter[str] = Counter()
    before, after = commit.committed_len, commit.committed_len + len(commit.path_indices)
    count["block_boundaries"] = int(before // block_size != after // block_size)
    count["moved_rows"] = int(not np.array_equal(commit.path_indices, np.arange(before, after)))
    if commit.committed is not None:
        mode = commit.committed.commit_mode
        if mode is not None:
            count[f"commit_{mode}"] = 1
        count["commit_fallbacks"] = int(commit.committed.commit_fallback is not None)
    return count
