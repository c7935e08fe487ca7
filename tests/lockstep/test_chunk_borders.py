"""A drafter that takes the last known token at the border of a chunk: said so, once for a request."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reference.model import ReferenceModels
from reference.rungs import MASKED
from reference.search import DraftContext
from tests.pairs import tiny_pair
from tracing.finding import Finding
from tracing.reader import open_run
from tracing.recorder import open_trace
from tracing.settings import DecodeSettings
from workbench.judge.recorded.evidence import RecordedFacts
from workbench.judge.recorded.rejudge import rejudge
from workbench.lockstep.replay.borders import ChunkBorders, ChunkedLife, chunked_lives
from workbench.lockstep.replay.judge import ModelJudge
from workbench.lockstep.truth.reference_runner import ReferenceRunner

PAIR = tiny_pair(7, noise=1.0)
PROMPT = [3, 9, 27, 14, 41, 22, 8, 33]
NUM_STEPS, DEPTH = 5, 3
Rows = list[dict[str, Any]]


@cache
def decoded(borders: tuple[int, ...], stand_in: int | None) -> Rows:
    """Decode with chains of the best tokens; the row before each border is made with another token."""
    models, search = ReferenceModels(PAIR), MASKED.search(ReferenceModels(PAIR))
    assert search is not None
    committed, emitted = list(PROMPT), [int(MASKED.prefill(models, PROMPT).logits[-1].argmax())]
    rows: Rows = []
    for _ in range(NUM_STEPS):
        root, length = emitted[-1], len(committed)
        fed = [
            stand_in if each in borders and stand_in is not None else token
            for each, token in enumerate(committed)
        ]
        features = MASKED.prefill(models, committed).features
        beams, chain = search.begin(models, DraftContext(fed, root, features), DecodeSettings()), [root]
        for _ in range(DEPTH):
            best = int(beams.logprobs[0].argmax())
            chain.append(int(models.target_from_draft[best]))
            beams = search.expand(beams, np.array([0]), np.array(chain[-1:]))
        places, visible = np.arange(DEPTH + 1), np.tri(DEPTH + 1, dtype=np.bool_)
        logits = MASKED.verify(models, committed, np.array(chain), length + places, visible).logits.numpy()
        choices = logits.argmax(-1).tolist()
        taken = next((each for each in range(DEPTH) if chain[each + 1] != choices[each]), DEPTH)
        new = choices[: taken + 1]
        first = {} if rows else {"context_token_ids": np.array([*PROMPT, root])}
        rows.append(
            {
                **first,
                "committed_len": length,
                "committed_len_after": length + taken + 1,
                "token_ids": np.array(chain),
                "parents": np.maximum(places - 1, 0),
                "depths": places,
                "valid": places >= 0,
                "position_ids": length + places,
                "cache_positions": length + places,
                "target_token_ids": np.array(choices),
                "accepted_nodes": places[1 : taken + 1],
                "final_token_id": new[-1],
                "emitted_token_ids": np.array(new),
                "path_indices": length + places[: taken + 1],
            }
        )
        committed += [root, *new[:-1]]
        emitted += new
    return rows


def recorded(folder: Path, chunks: list[tuple[int, int]], rows: Rows) -> Path:
    with open_trace(folder, engine="an engine of its own") as trace:
        for launch, (start, size) in enumerate(chunks):
            with trace.step(prompt_id=0, turn=0, step=0) as one:
                one.record(
                    row_kind="prefill_chunk",
                    request_id="a",
                    launch=launch,
                    committed_len=start,
                    query_len=size,
                )
        for number, row in enumerate(rows):
            with trace.step(prompt_id=0, turn=0, step=number) as one:
                one.record(**row, request_id="a", launch=len(chunks) + number, query_len=DEPTH + 1)
    return folder


def findings(folder: Path) -> tuple[Finding, ...]:
    run = open_run(folder)
    runner = ReferenceRunner(PAIR, DecodeSettings(top_k=1), path_dtype="float32")
    judge = ModelJudge(runner, frozenset(), borders=ChunkBorders(chunked_lives(run, "fused")))
    facts = RecordedFacts()
    return rejudge(run, under_test="fused", facts=facts, max_new_tokens=None, judge=judge, known=()).findings


CUT = [(0, 3), (3, 3), (6, 2)]


def test_the_last_known_token_at_a_border_is_named_once(tmp_path: Path) -> None:
    wrong = decoded((3, 6), PROMPT[-1])
    assert [row["token_ids"].tolist() for row in wrong] != [
        row["token_ids"].tolist() for row in decoded((), None)
    ]
    (found,) = findings(recorded(tmp_path / "cut", CUT, wrong))
    assert found.rule == "JUDGE-DRAFT-CANDIDATES"
    assert found.request == "a"
    assert f"in launch 0, gives when made with token {PROMPT[-1]}, the last" in found.explanation
    assert f"instead of the next one, {PROMPT[3]} (and 1 more)" in found.explanation


@pytest.mark.parametrize("chunks", [[(0, 8)], CUT, [(0, 3), (3, 5)]], ids=["whole", "in three", "in two"])
def test_right_rows_at_borders_are_silent(tmp_path: Path, chunks: list[tuple[int, int]]) -> None:
    assert findings(recorded(tmp_path / "run", chunks, decoded((), None))) == ()


def test_without_a_border_nothing_explains_it(tmp_path: Path) -> None:
    found = findings(recorded(tmp_path / "run", [(0, 8)], decoded((3, 6), PROMPT[-1])))
    assert found
    assert {each.explanation for each in found} == {""}


def test_another_token_at_a_border_is_not_passed_over(tmp_path: Path) -> None:
    """One draft may fit by chance; those after it accuse."""
    found = findings(recorded(tmp_path / "run", CUT, decoded((3, 6), 44)))
    assert [each.explanation == "" for each in found].count(True)


def test_lives_of_a_request(tmp_path: Path) -> None:
    """Preempted in its prompt, cut again, preempted later, computed again in two launches before a step."""
    rows = [
        ("prefill_chunk", 0, 0, 3, 0),
        ("preempted", 0, 3, 0, None),
        ("prefill_chunk", 2, 2, 2, 2),
        ("prefill_chunk", 3, 4, 4, None),
        (None, 4, 8, 4, None),
        ("recompute", 6, 0, 5, 0),
        ("recompute", 7, 5, 4, None),
        (None, 7, 9, 4, None),
    ]
    with open_trace(tmp_path / "run", engine="an engine of its own") as trace:
        for number, (kind, launch, start, size, cached) in enumerate(rows):
            with trace.step(prompt_id=0, turn=0, step=number) as one:
                values = {"row_kind": kind, "num_cached": cached}
                given = {name: value for name, value in values.items() if value is not None}
                one.record(request_id="a", launch=launch, committed_len=start, query_len=size, **given)
    assert chunked_lives(open_run(tmp_path / "run"), "fused") == {
        (0, 0): [ChunkedLife(0), ChunkedLife(2, 2, {4: 2}, 8), ChunkedLife(6, 0, {5: 6}, 10)]
    }
