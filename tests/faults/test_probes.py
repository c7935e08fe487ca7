"""Metamorphic probes of our own path: what must not change when something irrelevant does.

They need no reference, and find what both paths could get wrong together. The last test of each law puts a
fault in and sees the law broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from invariants.ancestry import path_to_root
from tracing.stages import Accepted, Drafted, NullWatch, Tensorized, Verified
from workbench.faults.bench import tiny_bench
from workbench.faults.catalogue import BY_NAME
from workbench.faults.experiment import faulty_path
from workbench.faults.placement import Placement
from workbench.lockstep.engine.under_test import PathUnderTest

SETUP = replace(
    tiny_bench().setup("plain"), settings=replace(tiny_bench().setup("plain").settings, tree_nodes=16)
)


def tree_of(parents: Sequence[int], token_ids: Sequence[int]) -> Drafted:
    """A drafted tree made by hand; parents come first."""
    depths = [0]
    for parent in parents[1:]:
        depths.append(depths[parent] + 1)
    return Drafted(
        token_ids=np.array(token_ids, dtype=np.int64),
        parents=np.array(parents, dtype=np.int64),
        depths=np.array(depths, dtype=np.int64),
        logprobs=-np.array(depths, dtype=np.float32),
        flat_ids=np.arange(len(parents) - 1),
        levels=(),
    )


def step(drafted: Drafted, placement: Placement | None = None) -> tuple[Tensorized, Verified, Accepted]:
    """One step after the prompt, with this tree instead of the drafter's."""
    placement = placement or Placement()
    with placement.around():
        under_test = PathUnderTest.begin(faulty_path(SETUP, placement), NullWatch())
        under_test.call("prefill", list(SETUP.prompt))
        tree = under_test.call("tensorize", drafted)
        verified = under_test.call("verify", tree)
        return tree, verified, under_test.call("accept", tree, verified, 100)


def root_token() -> int:
    under_test = PathUnderTest.begin(faulty_path(SETUP, Placement()), NullWatch())
    return int(under_test.call("prefill", list(SETUP.prompt)).context_token_ids[-1])


ROOT = root_token()
PARENTS = (0, 0, 0, 1, 1, 2, 3, 5)
TOKENS = (ROOT, 11, 12, 13, 14, 15, 16, 17)


def moved_rows(changed: int, placement: Placement | None = None) -> set[int]:
    """Nodes whose logits are not bit for bit the same when one node's token is another."""
    tokens = list(TOKENS)
    before = step(tree_of(PARENTS, tokens), placement)[1].logits
    tokens[changed] = 33
    after = step(tree_of(PARENTS, tokens), placement)[1].logits
    return {node for node in range(len(PARENTS)) if not torch.equal(before[node], after[node])}


@pytest.mark.parametrize("changed", range(1, len(PARENTS)))
def test_only_descendants_feel_a_changed_token(changed: int) -> None:
    """Exactly: the same launch of the same shape, and a key that is left out has weight 0."""
    below = {node for node in range(len(PARENTS)) if changed in path_to_root(node, PARENTS)}
    assert moved_rows(changed) == below


def test_a_mask_that_is_not_consumed_breaks_that_law() -> None:
    assert moved_rows(1, BY_NAME["mask-not-consumed"].place()) > {1, 3, 4, 6}


def greedy_chain(length: int) -> list[int]:
    """The root and the teacher's own continuation, found by growing a chain with its choices."""
    tokens = [ROOT]
    for _ in range(length):
        _, verified, _ = step(tree_of([max(node - 1, 0) for node in range(len(tokens))], tokens))
        tokens.append(int(verified.target_token_ids[len(tokens) - 1]))
    return tokens


CHAIN = greedy_chain(4)


def emitted(parents: Sequence[int], tokens: Sequence[int], placement: Placement | None = None) -> list[int]:
    return step(tree_of(parents, tokens), placement)[2].emitted_token_ids.tolist()


def with_sibling_before(node: int) -> tuple[list[int], list[int]]:
    """The chain with a wrong sibling in front of one of its nodes."""
    tokens = [*CHAIN[:node], (CHAIN[node] + 1) % 64, *CHAIN[node:]]
    parents = [max(each - 1, 0) for each in range(node + 1)]
    parents += [node - 1, *range(node + 1, len(CHAIN))]
    return parents, tokens


@pytest.mark.parametrize("node", range(1, len(CHAIN)))
def test_a_sibling_never_shortens_what_is_accepted(node: int) -> None:
    without = emitted([0, 0, 1, 2, 3], CHAIN)
    assert len(without) == len(CHAIN)
    assert emitted(*with_sibling_before(node)) == without


def test_trying_the_first_sibling_only_breaks_that_law() -> None:
    placement = BY_NAME["first-sibling-only"].place()
    assert len(emitted(*with_sibling_before(2), placement)) < len(CHAIN)


def test_the_order_of_siblings_changes_only_indices() -> None:
    """Rows move with their node; sums over keys run in another order, so they agree to rounding only."""
    first = tree_of((0, 0, 0, 1, 2), (ROOT, CHAIN[1], 12, CHAIN[2], 15))
    second = tree_of((0, 0, 0, 2, 1), (ROOT, 12, CHAIN[1], CHAIN[2], 15))
    moved = [0, 2, 1, 3, 4]
    _, one, accepted = step(first)
    _, other, also_accepted = step(second)
    assert accepted.emitted_token_ids.tolist() == also_accepted.emitted_token_ids.tolist()
    assert [moved[node] for node in accepted.accepted_nodes] == also_accepted.accepted_nodes.tolist()
    torch.testing.assert_close(one.logits[:5], other.logits[moved], rtol=1e-4, atol=1e-4)
