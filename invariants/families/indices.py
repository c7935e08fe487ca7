"""Indices at gather and scatter sites, and token ids, which are indices into tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from invariants.mutation import Changes
from invariants.prefilter import applicability, outside, prefilter
from invariants.rule import BoolArray, IntArray, NotApplicableError, Violation, Violations, invariant, listed
from tracing.moment import STAGES

Sites = Sequence[Mapping[str, Any]]
"""Entries `site`, `min`, `max`, `bound`: the lowest and highest index seen there, and the size indexed."""


def stage_of_site(site: str) -> str:
    """Return the stage that a site names, e.g. `port/draft.py:88 embedding in draft`; empty without one."""
    stage = site.rpartition(" in ")[2]
    return stage if stage in STAGES else ""


@invariant("IDX001", stage="verify")
def index_beyond_bound(index_sites: Sites) -> Violations:
    """A gather or scatter was given an index that is not below the size it indexes.

    ## What it does
    Checks `max < bound` at each recorded site.

    ## Why it matters
    On the device such an index reads a random row, faults the core, or is ignored, depending on the operator.

    ## Example
    Site `rope` saw index 10163 with a table of 10163 rows.

    ## Seen in
    vllm-project/vllm-ascend#3187 (mask rows fewer than positions), FasterDecoding/Medusa#63,
    vllm-project/vllm#48894.

    ## Limits
    Sees the sites that the index watch covers, and the extremes only.
    """
    if not index_sites:
        raise NotApplicableError("no index site was watched")
    for site in index_sites:
        if site["max"] >= site["bound"]:
            message = f"{site['site']} was given index {site['max']}, it has {site['bound']} entries"
            found, bound, stage = int(site["max"]), int(site["bound"]), stage_of_site(site["site"])
            yield Violation(message, "index_sites", found=found, expected=bound - 1, stage=stage)


@invariant("IDX002", stage="verify")
def negative_index_dereferenced(index_sites: Sites) -> Violations:
    """A gather or scatter was given a negative index: a sentinel was dereferenced.

    ## What it does
    Checks `min >= 0` at each recorded site.

    ## Why it matters
    `-1` means "none" where it is stored and "the last one" where it is used: a write lands in the last slot
    of the last block, a read takes the last row; the NPU's operators each have a rule of their own.

    ## Example
    Site `kv_scatter` saw index -1.

    ## Seen in
    vllm-project/vllm#43810 (padding slot -1 overwrites the last slot), FasterDecoding/Medusa (retrieve rows
    padded with -1), vllm-project/vllm-ascend#10043 (placeholder draft id -1 reaches the embedding).

    ## Limits
    Sees the sites that the index watch covers; an operator that documents negative indices may be ignored.
    """
    if not index_sites:
        raise NotApplicableError("no index site was watched")
    for site in index_sites:
        if site["min"] < 0:
            message = f"{site['site']} was given the negative index {site['min']}"
            stage = stage_of_site(site["site"])
            yield Violation(message, "index_sites", found=int(site["min"]), expected=0, stage=stage)


@invariant("IDX003", stage="tensorize", requires=("ROW001",))
def token_outside_vocabulary(token_ids: IntArray, vocab_size: int) -> Violations:
    """A node's token is not an id of the teacher's vocabulary.

    ## What it does
    Checks `0 <= token_ids[node] < vocab_size` for every node; pads are embedded, too.

    ## Why it matters
    The embedding returns random rows past its end and an error, or the last row, below zero. A draft id that
    skipped the map to the teacher's vocabulary, or was mapped twice, is the usual source.

    ## Example
    The vocabulary has 512 ids and node 3 has token 700.

    ## Seen in
    verl-SpeCo#67 (offsets read as absolute ids), vllm-project/vllm-ascend#10307 (placeholder -1 embedded).

    ## Limits
    A wrong map that stays in range is not seen here; the load report and the acceptance alarms see it.
    """
    wrong = [node for node, token in enumerate(token_ids.tolist()) if not 0 <= token < vocab_size]
    if wrong:
        found = int(token_ids[wrong[0]])
        message = f"nodes {listed(wrong)} have tokens outside 0..{vocab_size - 1}, the first {found}"
        yield Violation(message, "token_ids", wrong[0], found=found, expected=vocab_size - 1)


@invariant("IDX004", stage="verify", requires=("ROW001",))
def choice_outside_vocabulary(target_token_ids: IntArray, valid: BoolArray, vocab_size: int) -> Violations:
    """The teacher's choice after a node is not an id of its vocabulary.

    ## What it does
    Checks `0 <= target_token_ids[node] < vocab_size` for each valid node.

    ## Why it matters
    The head has more rows than the tokenizer has tokens when its size is rounded up; a filler row that wins,
    or a filler id -1 for "no choice", becomes the next root.

    ## Example
    The vocabulary has 512 ids, the head 576 rows, and row 560 is the choice.

    ## Seen in
    vllm-project/vllm-ascend#10043 (placeholder -1 among accepted ids), vllm-project/vllm#40768.

    ## Limits
    Needs the size of the vocabulary, not of the head.
    """
    wrong = [n for n in range(len(valid)) if valid[n] and not 0 <= target_token_ids[n] < vocab_size]
    if wrong:
        found = int(target_token_ids[wrong[0]])
        message = (
            f"the choices after nodes {listed(wrong)} are outside 0..{vocab_size - 1}, the first {found}"
        )
        yield Violation(message, "target_token_ids", wrong[0], found=found, expected=vocab_size - 1)


CLAUSES: Final = (
    prefilter("IDX001")(
        lambda index_sites_max, index_sites_bound: index_sites_max.any_step(
            index_sites_max.values >= index_sites_bound.values
        )
    ),
    prefilter("IDX002")(lambda index_sites_min: index_sites_min.any_step(index_sites_min.values < 0)),
    prefilter("IDX003")(lambda token_ids, vocab_size: outside(token_ids, 0, vocab_size)),
    prefilter("IDX004")(
        lambda target_token_ids, valid, vocab_size: valid & outside(target_token_ids, 0, vocab_size)
    ),
    applicability("IDX001", "IDX002")(lambda index_sites_min: index_sites_min.lengths > 0),
)


MUTATIONS: Final[Changes] = {
    "IDX001 index-at-bound": lambda case, _: case.edited(
        index_sites=[{"site": "rope", "min": 0, "max": 512, "bound": 512}]
    ),
    "IDX002 sentinel-used": lambda case, _: case.edited(
        index_sites=[{"site": "kv_scatter", "min": -1, "max": 8, "bound": 512}]
    ),
    "IDX003 token-past-vocabulary": lambda case, pick: case.poked(
        "token_ids", pick([*case.leaves, *case.pads]), case.context.vocab_size
    ),
    "IDX004 choice-is-filler": lambda case, pick: case.chose(pick(case.bystanders), -1),
}
