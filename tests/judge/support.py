"""One sound step, made without any model: random truths, honest rounding, a plain search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tracing.finding import Finding
from tracing.moment import Moment
from tracing.settings import DecodeSettings
from tracing.stages import Accepted, Committed, Drafted, DraftLevel, Tensorized
from workbench.judge.evidence import (
    AcceptEvidence,
    CommitEvidence,
    DraftEvidence,
    LevelTruth,
    PrefillEvidence,
    StepEvidence,
    TensorizeEvidence,
    VerifyEvidence,
    VerifySide,
)
from workbench.judge.notes import StageJudgement
from workbench.judge.row_truth import RowTruth
from workbench.judge.step import judge_stage

SETTINGS = DecodeSettings(tree_nodes=10, depth=2, top_k=3)
NUM_NODES = 12  # two pads
PREFIX = 5
VOCAB, DRAFT_VOCAB = 40, 24
TARGET_FROM_DRAFT = np.arange(DRAFT_VOCAB) + np.arange(DRAFT_VOCAB) // 2
ROUNDING = 1e-6


def judged(part: Any) -> StageJudgement:
    """The judgement of one stage by its evidence alone."""
    stage = type(part).__name__.removesuffix("Evidence").lower()
    return judge_stage(StepEvidence(moment=Moment(0), **{stage: part}), stage)


def rounded(rng: np.random.Generator, truth: Any, size: float = ROUNDING) -> Any:
    """The truth as a float32 kernel might give it: off by about `size` of the row's magnitude."""
    return (
        truth * (1 + size * rng.uniform(-1, 1, truth.shape)) + size * rng.uniform(-1, 1, truth.shape)
    ).astype(np.float32)


def quantity(rng: np.random.Generator, shape: tuple[int, ...], truth: Any = None) -> RowTruth:
    truth = rng.normal(size=shape) * 3 if truth is None else truth
    return RowTruth(
        fused=rounded(rng, truth), truth=truth, samples=tuple(rounded(rng, truth) for _ in range(3))
    )


def log_softmax(rows: Any) -> Any:
    return rows - np.log(np.exp(rows).sum(-1, keepdims=True))


def plain_best(scores: list[float], num_best: int) -> list[int]:
    return sorted(range(len(scores)), key=lambda flat: (-scores[flat], flat))[:num_best]


def draft(rng: np.random.Generator, settings: DecodeSettings = SETTINGS) -> DraftEvidence:
    """Search level by level with float32 scores, as the official algorithm does."""
    width = settings.top_k
    truths, levels, flats = [], [], []
    beams, beam_scores = [None], [np.float32(0)]
    for number in range(settings.depth + 1):
        truth = log_softmax(rng.normal(size=(len(beams), DRAFT_VOCAB)) * 3)
        truths.append(LevelTruth(truth=truth, samples=tuple(rounded(rng, truth) for _ in range(3))))
        own = rounded(rng, truth)
        picks = [plain_best(row.tolist(), width) for row in own]
        scores = np.array(
            [[base + own[row, pick] for pick in picks[row]] for row, base in enumerate(beam_scores)],
            np.float32,
        )
        first = len(flats)
        flats += [
            (float(scores[row, rank]), beams[row], number, int(TARGET_FROM_DRAFT[picks[row][rank]]))
            for row in range(len(beams))
            for rank in range(width)
        ]
        ids = np.array([] if number == 0 else beams, dtype=np.int64)
        levels.append(
            DraftLevel(beam_flat_ids=ids, token_ids=TARGET_FROM_DRAFT[np.array(picks)], scores=scores)
        )
        beams = [first + place for place in plain_best([flat[0] for flat in flats[first:]], width)]
        beam_scores = [np.float32(flats[beam][0]) for beam in beams]
    chosen = sorted(plain_best([flat[0] for flat in flats], settings.tree_nodes - 1))
    drafted = assemble(flats, chosen, tuple(levels))
    return DraftEvidence(
        settings=settings,
        root_token_id=7,
        target_from_draft=TARGET_FROM_DRAFT,
        fused=drafted,
        levels=tuple(truths),
        kv=quantity(rng, (1, 2, 2, 3, 8)),
        committed_len=PREFIX,
        kv_lengths=(PREFIX,),
    )


def assemble(flats: list[Any], chosen: list[int], levels: tuple[DraftLevel, ...]) -> Drafted:
    node_from_flat = {flat: node for node, flat in enumerate(chosen, start=1)}
    return Drafted(
        token_ids=np.array([7, *(flats[flat][3] for flat in chosen)]),
        parents=np.array([0, *(node_from_flat.get(flats[flat][1], 0) for flat in chosen)]),
        depths=np.array([0, *(flats[flat][2] + 1 for flat in chosen)]),
        logprobs=np.array([0, *(flats[flat][0] for flat in chosen)], np.float32),
        flat_ids=np.array(chosen, dtype=np.int64),
        levels=levels,
    )


def tensorized(drafted: Drafted, num_nodes: int = NUM_NODES) -> Tensorized:
    num_valid = len(drafted.token_ids)

    def padded(values: Any) -> Any:
        out = np.zeros(num_nodes, dtype=np.asarray(values).dtype)
        out[:num_valid] = values
        return out

    visible = np.zeros((num_nodes, num_nodes), dtype=bool)
    for node in range(num_valid):
        visible[node] = visible[drafted.parents[node]] if node else False
        visible[node, node] = True
    return Tensorized(
        token_ids=padded(drafted.token_ids),
        parents=padded(drafted.parents),
        depths=padded(drafted.depths),
        valid=np.arange(num_nodes) < num_valid,
        logprobs=padded(drafted.logprobs),
        position_ids=PREFIX + padded(drafted.depths),
        cache_positions=PREFIX + np.arange(num_nodes),
        visible=visible,
    )


def verify(rng: np.random.Generator, tree: Tensorized) -> VerifyEvidence:
    """The teacher agrees with the first child of the root and with nothing below it."""
    num_nodes = len(tree.token_ids)
    truth = rng.normal(size=(num_nodes, VOCAB)) * 3
    for node in range(num_nodes):
        children = np.flatnonzero((tree.parents == node) & tree.valid & (np.arange(num_nodes) > 0))
        truth[node, tree.token_ids[children]] = -20.0
    first = int(np.flatnonzero((tree.parents == 0) & tree.valid & (np.arange(num_nodes) > 0))[0])
    truth[0, tree.token_ids[first]] = 20.0
    logits = quantity(rng, truth.shape, truth)
    side = VerifySide(
        visible=tree.visible,
        prefix_visible=np.full(num_nodes, PREFIX),
        other_visible=np.zeros(num_nodes, dtype=np.int64),
        target_token_ids=logits.fused.argmax(-1),
    )
    return VerifyEvidence(
        committed_len=PREFIX,
        valid=tree.valid,
        built_visible=tree.visible,
        fused=side,
        reference=replace(side, target_token_ids=truth.argmax(-1)),
        logits=logits,
        features=quantity(rng, (num_nodes, 18)),
        kv=quantity(rng, (3, 2, 2, num_nodes, 8)),
    )


def accept(
    tree: Tensorized, choices: Any, remaining: int = 50, eos: frozenset[int] = frozenset()
) -> AcceptEvidence:
    path, node = [], 0
    while True:
        children = [
            child
            for child in range(1, len(tree.parents))
            if tree.valid[child] and tree.parents[child] == node and tree.token_ids[child] == choices[node]
        ]
        if not children:
            break
        node = children[0]
        path.append(node)
    emitted = [int(tree.token_ids[node]) for node in path] + [int(choices[path[-1] if path else 0])]
    stop = None
    for place, token in enumerate(emitted[:remaining]):
        if token in eos or place + 1 == remaining:
            emitted, stop = emitted[: place + 1], "eos" if token in eos else "length"
            break
    nodes = np.array(path[: len(emitted) - 1], dtype=np.int64)
    accepted = Accepted(
        accepted_nodes=nodes,
        final_token_id=emitted[-1],
        emitted_token_ids=np.array(emitted),
        path_indices=PREFIX + np.array([0, *nodes], dtype=np.int64),
        stop_reason=stop,
    )
    return AcceptEvidence(
        committed_len=PREFIX,
        tree=tree,
        target_token_ids=choices,
        remaining=remaining,
        eos_token_ids=eos,
        fused=accepted,
        reference=accepted,
    )


def commit(rng: np.random.Generator, accepted: Accepted, num_nodes: int = NUM_NODES) -> CommitEvidence:
    before = rng.normal(size=(3, 2, 2, PREFIX, 8)).astype(np.float32)
    branch = rng.normal(size=(3, 2, 2, num_nodes, 8)).astype(np.float32)
    after = np.concatenate([before, branch[:, :, :, accepted.path_indices - PREFIX]], axis=3)
    length = PREFIX + len(accepted.path_indices)
    return CommitEvidence(
        committed_len=PREFIX,
        path_indices=accepted.path_indices,
        committed=Committed(
            committed_len=PREFIX, committed_len_after=length, commit_mode="fast_reorder", prefix_kept=True
        ),
        rows_before=before,
        branch_rows=branch,
        rows_after=after,
        lengths_after=(length,) * 3,
    )


def prefill(rng: np.random.Generator) -> PrefillEvidence:
    prompt = np.arange(3, 3 + PREFIX)
    logits = quantity(rng, (VOCAB,))
    context = np.append(prompt, logits.fused.argmax())
    return PrefillEvidence(
        prompt_token_ids=prompt,
        fused_context_token_ids=context,
        reference_context_token_ids=np.append(prompt, logits.truth.argmax()),
        logits=logits,
        features=quantity(rng, (PREFIX, 18)),
        kv=quantity(rng, (3, 2, 2, PREFIX, 8)),
    )


def sound_step(seed: int = 0) -> StepEvidence:
    """A whole first step of a turn in which nothing is wrong."""
    rng = np.random.default_rng(seed)
    drafted = draft(rng)
    assert drafted.fused is not None
    tree = tensorized(drafted.fused)
    verified = verify(rng, tree)
    accepted = accept(tree, verified.fused.target_token_ids)
    assert accepted.fused is not None
    return StepEvidence(
        moment=Moment(2, 1, 0),
        prefill=prefill(rng),
        draft=drafted,
        tensorize=TensorizeEvidence(
            committed_len=PREFIX,
            num_nodes=NUM_NODES,
            vocab_size=VOCAB,
            drafted=drafted.fused,
            fused=tree,
            reference=tree,
        ),
        verify=verified,
        accept=accepted,
        commit=commit(rng, accepted.fused),
    )


def changed(array: Any, place: Any, value: Any) -> Any:
    """A copy with one entry changed."""
    copy = np.array(array)
    copy[place] = value
    return copy


def rules_of(findings: Any) -> set[str]:
    return {finding.rule for finding in findings}


def finding(verdict: str = "structural", stage: str = "verify", step: int = 0, **fields: Any) -> Finding:
    where = Moment(0, fields.pop("turn", 0), step, stage, fields.pop("node", None))
    return Finding(**{"verdict": verdict, "guilty": "fused", "moment": where, "column": "logits", **fields})
