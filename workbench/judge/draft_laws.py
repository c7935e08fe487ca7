"""The exact laws of an EAGLE-3 draft: its own scores decide beams and nodes, numbers decide parents.

Candidates with equal scores are interchangeable: operators like `topk` promise no order among them. What was
chosen is therefore compared by its scores, never by its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracing.settings import DecodeSettings
from tracing.stages import BeamSearch, Drafted, DraftLevel, IntArray
from workbench.judge.evidence import DraftEvidence
from workbench.judge.notes import Notes


@dataclass(frozen=True, slots=True)
class Candidates:
    """All scored candidates of a draft, by flat number; arrays are `[C]`.

    Attributes:
        width: K, candidates per beam and beams per level.
        token_ids, scores: Target token and own cumulative score.
        levels: Level of each candidate (0 for the root's children); its node has depth `level + 1`.
        parents: Flat number of the candidate's parent, or `ROOT` for the root's children.
    """

    width: int
    token_ids: IntArray
    scores: NDArray[np.float64]
    levels: IntArray
    parents: IntArray


ROOT = np.iinfo(np.int64).max
"""The root's place among flat numbers; larger than any of them and never used as an index."""


def best(scores: NDArray[np.float64], flat_ids: IntArray, num_best: int) -> IntArray:
    """Return the flat numbers of the best scores, best first, ties to the lower number."""
    if len(scores) > 4 * num_best:  # sort those that may be among them: none is worse than the last of these
        last = -np.partition(-scores, num_best - 1)[num_best - 1]
        if last > -np.inf:
            among = scores >= last
            scores, flat_ids = scores[among], flat_ids[among]
    order = np.lexsort((flat_ids, -scores))
    return np.asarray(flat_ids[order][:num_best])


def level_range(level: int, width: int) -> range:
    """Return the flat numbers of the candidates of one level."""
    if level == 0:
        return range(width)
    start = width + (level - 1) * width**2
    return range(start, start + width**2)


def swapped(expected: IntArray, chosen: IntArray, scores: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Return what was left out, best first, and what was chosen instead, worst first; `scores` by number."""
    omitted = [int(flat) for flat in expected if flat not in chosen]
    return omitted, sorted(set(chosen.tolist()) - set(expected.tolist()), key=lambda flat: scores[flat])


def gather_candidates(notes: Notes, drafted: BeamSearch, evidence: DraftEvidence) -> Candidates | None:
    """Return all candidates, or None (with findings) when the levels are malformed."""
    settings, vocabulary = evidence.settings, evidence.target_from_draft
    num_expected = settings.top_k if vocabulary is None else min(settings.top_k, len(vocabulary))
    levels = drafted.levels
    width = int(levels[0].token_ids.shape[-1])
    fault = _level_fault(drafted, settings, width)
    if width != num_expected:
        fault = f"{width} candidates per beam, expected {num_expected}"
    if fault:
        notes.finding("JUDGE-DRAFT-LEVELS", "beam_flat_ids", fault)
        return None
    parents = [np.full(width, ROOT, dtype=np.int64)]
    parents += [np.repeat(np.asarray(level.beam_flat_ids, dtype=np.int64), width) for level in levels[1:]]
    return Candidates(
        width=width,
        token_ids=np.concatenate([np.asarray(level.token_ids).ravel() for level in levels]),
        scores=np.concatenate([np.asarray(level.scores, dtype=np.float64).ravel() for level in levels]),
        levels=np.repeat(np.arange(len(levels)), [np.asarray(level.scores).size for level in levels]),
        parents=np.concatenate(parents),
    )


def _level_fault(drafted: BeamSearch, settings: DecodeSettings, width: int) -> str:
    """Return what is wrong with the shape of the levels, or an empty string."""
    levels = drafted.levels
    expected = _num_levels(levels, settings)
    if len(levels) != expected:
        why = "depth + 1 = " if expected == settings.depth + 1 else "as its scores are, "
        return f"the draft has {len(levels)} levels, expected {why}{expected}"
    for number, level in enumerate(levels):
        num_beams = 1 if number == 0 else width
        shape = (num_beams, width)
        if level.token_ids.shape != shape or level.scores.shape != shape:
            return f"level {number} has candidates {list(level.token_ids.shape)}, expected {list(shape)}"
        beams = np.asarray(level.beam_flat_ids)
        if beams.shape != ((0,) if number == 0 else (width,)):
            return f"level {number} has {beams.size} kept beams, expected {0 if number == 0 else width}"
        if number and not set(beams.tolist()) <= set(level_range(number - 1, width)):
            return f"level {number} keeps beams {beams.tolist()}, not all candidates of level {number - 1}"
    return ""


def _num_levels(levels: Sequence[DraftLevel], settings: DecodeSettings) -> int:
    """Return how many levels a search has whose scores are these."""
    for number, level in enumerate(levels[: settings.depth], start=1):
        scores = np.asarray(level.scores, dtype=np.float64).ravel()
        if scores.size and scores[best(scores, np.arange(scores.size), 1)[0]] < settings.stop_score:
            return number
    return settings.depth + 1


def node_of(drafted: BeamSearch, flat: int) -> int | None:
    """Return the node that a candidate became, or None."""
    places = np.flatnonzero(np.asarray(drafted.flat_ids) == flat)
    return int(places[0]) + 1 if places.size else None


def judge_order(notes: Notes, candidates: Candidates) -> None:
    """Judge that each beam's candidates are distinct tokens, best first."""
    width = candidates.width
    notes.check("candidate_order")
    for start in range(0, len(candidates.scores), width):
        scores, tokens = candidates.scores[start : start + width], candidates.token_ids[start : start + width]
        unordered = bool((np.diff(scores) > 0).any())
        if unordered or len(set(tokens.tolist())) < width:
            what = "are not in order of score" if unordered else "repeat a token"
            message = f"candidates {start} to {start + width - 1} (one beam) {what}: tokens {tokens.tolist()}"
            notes.finding("JUDGE-DRAFT-ORDER", "token_ids", message)


def judge_beams(notes: Notes, drafted: BeamSearch, candidates: Candidates) -> None:
    """Judge that each level's beams are the best candidates of the level before, by the path's own scores.

    Beams come best first and each once; the order among equal scores, and which of them are kept, is free.
    The first level with a wrong beam is named, as those below it grow from there.
    """
    notes.check("beam_flat_ids")
    for number, level in enumerate(drafted.levels[1:], start=1):
        before = np.array(level_range(number - 1, candidates.width))
        expected = best(candidates.scores[before], before, candidates.width)
        kept = np.asarray(level.beam_flat_ids)
        again = np.isin(np.arange(len(kept)), np.unique(kept, return_index=True)[1], invert=True)
        wrong = again | (candidates.scores[kept] != candidates.scores[expected])
        for rank in np.flatnonzero(wrong)[:1].tolist():
            ours, theirs = int(kept[rank]), int(expected[rank])
            message = (
                f"beam {rank} of level {number} is candidate {ours} (score {candidates.scores[ours]:.6g})"
            )
            if again[rank]:
                message += ", which is a beam already"
            else:
                score = candidates.scores[theirs]
                message += f", expected {theirs} (score {score:.6g}) by the path's own scores"
            rule, node = "JUDGE-DRAFT-BEAMS", node_of(drafted, ours)
            notes.finding(rule, "beam_flat_ids", message, node=node, fused=ours, reference=theirs)
            return


def judge_selected(
    notes: Notes, drafted: BeamSearch, candidates: Candidates, settings: DecodeSettings
) -> bool:
    """Judge which candidates became nodes; return whether their numbers are valid."""
    notes.check("flat_ids")
    selected = np.asarray(drafted.flat_ids, dtype=np.int64)
    num_candidates = len(candidates.scores)
    if ((selected < 0) | (selected >= num_candidates)).any() or len(selected) + 1 != len(drafted.token_ids):
        message = f"{len(drafted.token_ids)} nodes have flat numbers {selected.tolist()} of {num_candidates}"
        notes.finding("JUDGE-SHAPE", "flat_ids", message)
        return False
    if (np.diff(selected) <= 0).any():
        _write_order(notes, selected)
    everyone = np.arange(num_candidates)
    expected = best(candidates.scores, everyone, min(settings.tree_nodes - 1, num_candidates))
    _judge_set(notes, candidates, selected, expected)
    return True


def _write_order(notes: Notes, selected: IntArray) -> None:
    """Name the first node that is not where its number puts it, or the second of two with one number."""
    differs = np.flatnonzero(selected != np.sort(selected))
    again = np.flatnonzero(np.diff(selected) == 0) + 1
    place = int(differs[0] if differs.size else again[0])
    law = int(np.sort(selected)[place])
    message = f"node {place + 1} is candidate {selected[place]}, where candidate {law} comes by its number"
    if not differs.size:
        message = f"node {place + 1} is candidate {selected[place]}, as is the node before it"
    rule, came = "JUDGE-DRAFT-ASCENDING", int(selected[place])
    notes.finding(rule, "flat_ids", message, node=place + 1, fused=came, reference=law)


def _judge_set(notes: Notes, candidates: Candidates, selected: IntArray, expected: IntArray) -> None:
    """Judge the scores of the selected set against the best; a candidate at the border is named last."""
    scores = candidates.scores
    if np.array_equal(np.sort(scores[selected]), np.sort(scores[expected])):
        return
    last = scores[expected].min(initial=np.inf)
    intruders = sorted(
        set(selected.tolist()) - set(expected.tolist()), key=lambda flat: (scores[flat] >= last, flat)
    )
    omitted = sorted(
        set(expected.tolist()) - set(selected.tolist()), key=lambda flat: (scores[flat] <= last, flat)
    )
    node = int(np.flatnonzero(selected == intruders[0])[0]) + 1 if intruders else None
    parts = [f"candidate {flat} (score {candidates.scores[flat]:.6g}) is selected" for flat in intruders[:1]]
    parts += [f"candidate {flat} (score {candidates.scores[flat]:.6g}) is left out" for flat in omitted[:1]]
    notes.finding(
        "JUDGE-DRAFT-SELECTED",
        "flat_ids",
        f"by the path's own scores {' and '.join(parts)}, expected the contrary",
        node=node,
        fused=intruders[0] if intruders else None,
        reference=omitted[0] if omitted else None,
    )


def judge_nodes(notes: Notes, drafted: BeamSearch, candidates: Candidates) -> None:
    """Judge parents and copied values of every node but the root."""
    notes.check("parents")
    node_from_flat = {int(flat): place + 1 for place, flat in enumerate(drafted.flat_ids)}
    for flat, node in node_from_flat.items():
        parent_flat = int(candidates.parents[flat])
        parent = 0 if parent_flat == ROOT else node_from_flat.get(parent_flat)
        if parent is None:
            message = f"node {node} (candidate {flat}) is selected, its parent candidate {parent_flat} is not"
            if candidates.scores[flat] == candidates.scores[parent_flat]:
                message += "; their scores are equal, and a tie may not go against the parent"
            notes.finding("JUDGE-DRAFT-CLOSED", "parents", message, node=node, reference=parent_flat)
        elif int(drafted.parents[node]) != parent:
            came = int(drafted.parents[node])
            message = f"parent of node {node} (candidate {flat}) is {came}, expected {parent}"
            rule = "JUDGE-DRAFT-PARENTS"
            notes.finding(rule, "parents", message, node=node, fused=came, reference=parent)
        _judge_copies(notes, drafted, candidates, flat, node)


def _judge_copies(notes: Notes, drafted: BeamSearch, candidates: Candidates, flat: int, node: int) -> None:
    for column, came, expected in (
        ("token_ids", drafted.token_ids[node].item(), candidates.token_ids[flat].item()),
        ("draft_logprobs", float(drafted.logprobs[node]), candidates.scores[flat].item()),
        ("depths", drafted.depths[node].item(), int(candidates.levels[flat]) + 1),
    ):
        if came != expected:
            message = f"{column} of node {node} is {came}, its candidate {flat} has {expected}"
            notes.finding("JUDGE-DRAFT-COPIES", column, message, node=node, fused=came, reference=expected)


def judge_root(notes: Notes, drafted: Drafted, root_token_id: int | None) -> None:
    """Judge node 0."""
    notes.check("root")
    expected = drafted.token_ids[0].item() if root_token_id is None else root_token_id
    came = (
        drafted.token_ids[0].item(),
        drafted.parents[0].item(),
        0 if drafted.depths is None else drafted.depths[0].item(),
        0.0 if drafted.logprobs is None else float(drafted.logprobs[0]),
    )
    if came != (expected, 0, 0, 0.0):
        message = f"root has token, parent, depth, score {came}, expected {(expected, 0, 0, 0.0)}"
        notes.finding("JUDGE-DRAFT-ROOT", "token_ids", message, node=0, fused=came[0], reference=expected)
