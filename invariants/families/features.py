"""Teacher features and KV rows by digest: every node its own, none left over from the step before."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import Flags, applicability, has_drafts, prefilter, twice
from invariants.rule import BoolArray, IntArray, Violation, Violations, draft_nodes, invariant


def _repeated(
    column: str, digests: IntArray, valid: BoolArray, named: list[str], own: IntArray
) -> Violations:
    """Yield nodes whose row equals that of an earlier node with another `own`, `[N, ...]`, and its name."""
    first: dict[int, int] = {}
    for node in [0, *draft_nodes(valid)]:
        other = first.setdefault(int(digests[node]), node)
        if np.any(own[node] != own[other]):
            message = f"nodes {other} and {node} have the same row, but {named[other]} and {named[node]}"
            yield Violation(message, column, node, found=f"{int(digests[node]):016x}")


def _named(tokens: IntArray, places: IntArray) -> list[str]:
    return [f"token {token} at {place}" for token, place in zip(tokens, places, strict=True)]


@invariant("KV008", stage="verify", requires=("ROW001",))
def kv_row_repeated(
    kv_row_digests: IntArray, token_ids: IntArray, position_ids: IntArray, valid: BoolArray
) -> Violations:
    """Two nodes with another token or position hold the same KV row, to the bit.

    ## What it does
    Looks for equal digests among valid nodes that differ in token or rotary position.

    ## Why it matters
    Keys of the first layer depend on token and position alone, so equal rows mean that one write went over
    another or that a row was read back from the wrong place.

    ## Example
    Nodes 2 and 5 have different tokens and the same `kv_row_digests`.

    ## Seen in
    vllm-project/vllm#43810 (one row overwritten), sgl-project/sglang#27338 (an index buffer too small,
    entries silently stomped).

    ## Limits
    Tokens whose embeddings are identical, such as untrained reserved ids, legitimately have equal rows.
    """
    own = np.stack([token_ids, position_ids], axis=1)
    yield from _repeated("kv_row_digests", kv_row_digests, valid, _named(token_ids, position_ids), own)


@invariant("FEAT001", stage="verify", requires=("ROW001",))
def feature_row_repeated(
    feature_row_digests: IntArray,
    token_ids: IntArray,
    position_ids: IntArray,
    valid: BoolArray,
) -> Violations:
    """Two nodes with another token have the same teacher feature, to the bit.

    ## What it does
    Looks for equal digests among valid nodes that differ in token.

    ## Why it matters
    The drafter is fed one row for many nodes, so its drafts are copies of each other; the output stays
    right and only acceptance shows it.

    ## Example
    All rows have the digest of the last row.

    ## Seen in
    vllm-project/vllm-ascend#12262 (the last hidden state taken for all rows, 1.18 % acceptance),
    sgl-project/sglang#27846 (only the last row of the batch was fresh).

    ## Limits
    Tokens whose embeddings are identical, such as untrained reserved ids, legitimately have equal features.
    So has one token at two positions where the text repeats itself as far back as attention reaches, or where
    rounding hides what lies before; a row of another position of the same token is not seen here.
    """
    named = _named(token_ids, position_ids)
    yield from _repeated("feature_row_digests", feature_row_digests, valid, named, token_ids)


@invariant("FEAT002", stage="verify", requires=("FEAT001", "STEP001"))
def feature_row_stale(
    *,
    feature_row_digests: IntArray,
    token_ids: IntArray,
    position_ids: IntArray,
    valid: BoolArray,
    previous_feature_row_digests: IntArray,
    previous_token_ids: IntArray,
    previous_position_ids: IntArray,
    previous_valid: BoolArray,
) -> Violations:
    """A node has the teacher feature of a node of the step before that had another token.

    ## What it does
    Looks each digest up among those of the previous step's valid nodes, and compares the tokens.

    ## Why it matters
    Part of the feature buffer was not written in this step; the drafter continues from old features.

    ## Example
    Node 7 has the digest that node 7 had one step ago, when it held another token.

    ## Seen in
    vllm-project/vllm-ascend#9436 (buffer filled with one rank's shard, the rest stale),
    sgl-project/sglang#15399 (output buffer left over from a graph replay).

    ## Limits
    Looks one step back. One token has equal features at two positions where the text repeats itself, as in
    FEAT001.
    """
    before = _owners(previous_feature_row_digests, previous_token_ids, previous_position_ids, previous_valid)
    for node in valid.nonzero()[0].tolist():
        own = (int(token_ids[node]), int(position_ids[node]))
        old = before.get(int(feature_row_digests[node]), own)
        if old[0] != own[0]:
            message = (
                f"node {node} (token {own[0]} at {own[1]}) has the feature that token {old[0]} at {old[1]} "
                "had one step before"
            )
            found = f"{int(feature_row_digests[node]):016x}"
            yield Violation(message, "feature_row_digests", node, found=found)


CLAUSES: Final = (
    prefilter("KV008")(lambda kv_row_digests, valid: twice(_of_nodes(kv_row_digests, valid, 0))),
    prefilter("FEAT001")(lambda feature_row_digests, valid: twice(_of_nodes(feature_row_digests, valid, 0))),
    applicability("KV008", "FEAT001")(has_drafts),
)


def _owners(
    digests: IntArray, tokens: IntArray, places: IntArray, valid: BoolArray
) -> dict[int, tuple[int, int]]:
    """Return token and position of the node that each digest belonged to."""
    nodes = zip(digests, tokens, places, valid, strict=False)  # the step before may have lost entries
    return {int(digest): (int(token), int(place)) for digest, token, place, is_valid in nodes if is_valid}


@prefilter("FEAT002")
def _features_of_before(
    feature_row_digests: IntArray,
    valid: BoolArray,
    previous_feature_row_digests: IntArray,
    previous_valid: BoolArray,
) -> Flags:
    own = _of_nodes(feature_row_digests, valid, 0)
    earlier = _of_nodes(previous_feature_row_digests, previous_valid, own.shape[1])
    return twice(np.concatenate([own, earlier], axis=1))


def _of_nodes(digests: IntArray, valid: BoolArray, start: int) -> IntArray:
    """Return digests with those of pads replaced by small numbers from `start`, each once, `[G, N]`."""
    numbers = np.arange(start, start + digests.shape[1], dtype=np.uint64)
    return np.where(valid, digests, numbers)


def _copied_row(case: Case, pick: Pick, column: str, places: list[int]) -> Case:
    """Give a node the digest of another node that has another token."""
    tokens = case.row["token_ids"]
    pairs = [(a, b) for a in case.nodes for b in places if tokens[a] != tokens[b]]
    source, target = pick(pairs)
    return case.poked(column, target, case.row[column][source])


def _feature_left_over(case: Case, pick: Pick) -> Case:
    digest = pick(case.earlier["feature_row_digests"][:1].tolist())
    return case.poked("feature_row_digests", pick(case.nodes), digest)


MUTATIONS: Final[Changes] = {
    "KV008 kv-row-copied": lambda case, pick: _copied_row(case, pick, "kv_row_digests", case.bystanders),
    "FEAT001 feature-row-copied": lambda case, pick: _copied_row(
        case, pick, "feature_row_digests", case.drafts
    ),
    "FEAT002 feature-row-left-over": _feature_left_over,
}
