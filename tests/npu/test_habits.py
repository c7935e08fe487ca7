"""Padding habits of the official EAGLE and Medusa code, rebuilt from their documented arrays.

Both pad the table of root-to-leaf paths (`retrieve_indices`) with -1 and rely on torch's wrap-around. On the
device none of these gathers is documented for negatives. The watch must name each place, and change nothing.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable

import pytest
import torch

from workbench import npu

PARENTS = (0, 0, 0, 1)
"""Root, two children, one grandchild: leaves 2 and 3, so one path is shorter and gets padded."""
VOCABULARY = 32
ROOT_AND_DRAFT = torch.tensor([[5, 7, 9, 11]])


def paths_to_leaves(parents: tuple[int, ...], pad: int) -> list[list[int]]:
    """Return node numbers root to leaf, deepest first, padded to equal length."""
    paths = []
    for leaf in sorted(set(range(len(parents))) - set(parents)):
        path = [leaf]
        while path[0] != 0:
            path.insert(0, parents[path[0]])
        paths.append(path)
    longest = max(map(len, paths))
    return sorted((path + [pad] * (longest - len(path)) for path in paths), key=lambda path: path.count(pad))


def eagle_step(pad: int = -1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Accept as the official EAGLE does: a -1 token appended, logits and features wrap around."""
    retrieve = torch.tensor(paths_to_leaves(PARENTS, pad))
    tree_logits = torch.arange(4.0 * VOCABULARY).view(1, 4, VOCABULARY)
    features = torch.arange(4.0 * 6).view(1, 4, 6)
    padded_tokens = torch.cat((ROOT_AND_DRAFT, torch.full((1, 1), -1)), dim=1)
    candidates = padded_tokens[0, retrieve]  # habit: token of pads
    logits = tree_logits[0, retrieve]  # habit: logits of pads
    kept_features = features[:, retrieve]  # habit: features of pads
    return candidates, logits, kept_features


def medusa_step(shift: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Accept as the official Medusa does: pads -2, shifted by one to -1, which reads an appended token 0."""
    rows = [[node - 1 for node in path[1:]] for path in paths_to_leaves(PARENTS, -1)]
    retrieve = torch.tensor(rows) + shift
    retrieve = torch.cat((torch.zeros(len(rows), 1, dtype=torch.long), retrieve), dim=1)
    tree_candidates = torch.cat((ROOT_AND_DRAFT[0], torch.zeros(1, dtype=torch.long)))
    medusa_logits = torch.arange(3.0 * 4 * VOCABULARY).view(3, 1, 4, VOCABULARY)
    candidates = tree_candidates[retrieve]  # habit: token 0 for pads
    logits = medusa_logits[:, 0, retrieve]  # habit: logits of pads
    return candidates, logits


def marked_lines(step: Callable[..., object]) -> set[int]:
    """Return the line numbers of `step` that carry a habit."""
    first, last = step.__code__.co_firstlineno, max(line for *_, line in step.__code__.co_lines() if line)
    return {number for number in range(first, last + 1) if "# habit:" in linecache.getline(__file__, number)}


@pytest.mark.parametrize(("step", "num_places"), [(eagle_step, 3), (medusa_step, 2)])
def test_every_wrapping_gather_is_reported_with_its_site(
    step: Callable[[], tuple[torch.Tensor, ...]], num_places: int
) -> None:
    plain = step()
    with npu.watch() as watch:
        watched = step()
    assert all(torch.equal(left, right) for left, right in zip(plain, watched, strict=True))
    places = {f"tests/npu/test_habits.py:{line} index" for line in marked_lines(step)}
    assert len(places) == num_places
    assert {finding.message.partition(": ")[0] for finding in watch.findings} == places
    assert {(finding.rule, finding.fused) for finding in watch.findings} == {("NPU-INDEX-NEGATIVE", -1)}


def test_the_pads_do_read_the_appended_token_and_the_last_node() -> None:
    """What makes the habits dangerous: the values are plausible, nothing fails on a CPU."""
    candidates, logits, _ = eagle_step()
    assert candidates.tolist() == [[5, 7, 11], [5, 9, -1]]
    assert torch.equal(logits[1, 2], logits[0, 2])
    assert medusa_step()[0].tolist() == [[5, 7, 11], [5, 9, 0]]


def test_a_forgotten_shift_reads_minus_two() -> None:
    """Medusa's own -2: without the shift by one, a pad reaches two rows back."""
    with npu.watch() as watch:
        medusa_step(shift=0)
    assert {finding.fused for finding in watch.findings} == {-2}


def test_a_pad_token_fed_to_the_embedding_is_reported_before_torch_refuses_it() -> None:
    """The next habit down the line: candidates that still hold -1 go into the next forward."""
    candidates, _, _ = eagle_step()
    weight = torch.ones(VOCABULARY, 4)
    with npu.watch() as watch, pytest.raises(IndexError):
        torch.nn.functional.embedding(candidates, weight)
    (finding,) = watch.findings
    assert finding.fused == -1
    assert "operator error" in finding.message


def test_a_token_id_past_the_vocabulary_is_reported() -> None:
    """A wrong draft-to-target table: random embedding rows on the device, an exception on a CPU."""
    with npu.watch() as watch, pytest.raises(IndexError):
        torch.nn.functional.embedding(torch.tensor([VOCABULARY]), torch.ones(VOCABULARY, 4))
    assert [(finding.rule, finding.fused) for finding in watch.findings] == [("NPU-INDEX-RANGE", VOCABULARY)]


def test_the_same_step_with_safe_pads_is_clean() -> None:
    """Near miss: pads clamped to node 0 and masked afterwards; nothing to report."""
    retrieve = torch.tensor(paths_to_leaves(PARENTS, -1))
    with npu.watch() as watch:
        candidates = ROOT_AND_DRAFT[0, retrieve.clamp(min=0)]
        candidates = torch.where(retrieve >= 0, candidates, -1)
    assert watch.findings == []
    assert candidates.tolist() == [[5, 7, 11], [5, 9, -1]]
