"""Requests of a batch that take turns in a trace: each is followed, a finding names its request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracing.reader import open_run
from tracing.recorder import open_trace
from workbench.judge.recorded.check import check_run
from workbench.judge.recorded.evidence import RecordedFacts
from workbench.judge.recorded.rejudge import judge_recorded, rejudge
from workbench.judge.recorded.requests import request_names

IN_TURNS = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
WRONG = (0, 1)


def step(prompt: int, number: int, request_id: str | None) -> dict[str, Any]:
    length = 3 + number
    first = {"context_token_ids": np.array([1, 2, 3, 10 * prompt])} if number == 0 else {}
    emitted = 10 * prompt + number + 1
    return {
        **first,
        "committed_len": length,
        "token_ids": np.array([10 * prompt + number]),
        **{name: np.array([0]) for name in ("parents", "depths")},
        "valid": np.array([True]),
        "position_ids": np.array([length + ((prompt, number) == WRONG)]),
        "cache_positions": np.array([length]),
        "target_token_ids": np.array([emitted]),
        "accepted_nodes": np.array([], dtype=np.int64),
        "final_token_id": emitted,
        "emitted_token_ids": np.array([emitted]),
        "path_indices": np.array([length]),
        "committed_len_after": length + 1,
        **({} if request_id is None else {"request_id": request_id, "launch": number}),
    }


def recorded(folder: Path, names: tuple[str | None, str | None]) -> Path:
    with open_trace(folder, engine="an engine of its own") as trace:
        for prompt, number in IN_TURNS:
            with trace.step(prompt_id=prompt, turn=0, step=number) as one:
                one.record(**step(prompt, number, names[prompt]))
    return folder


@pytest.mark.parametrize("names", [("req-a", "req-b"), ("req-a", None), (None, None)])
def test_a_finding_names_its_request(tmp_path: Path, names: tuple[str | None, str | None]) -> None:
    checked = check_run(recorded(tmp_path / "run", names))
    found = [each for each in checked.findings if each.rule == "POS001"]
    assert [(each.moment.place, each.request) for each in found] == [((0, 0, 1), names[0] or "")]
    assert found[0].as_json().get("request", "") == (names[0] or "")


def test_every_step_of_requests_that_take_turns_is_judged(tmp_path: Path) -> None:
    run = open_run(recorded(tmp_path / "run", ("req-a", "req-b")))
    seen = []

    def judge(evidence: Any, row: Any, other: Any, state: Any) -> Any:
        seen.append(state.has_length(row["committed_len"]))
        return judge_recorded()(evidence, row, other, state)

    said = rejudge(run, under_test="fused", facts=RecordedFacts(), max_new_tokens=None, judge=judge, known=())
    assert seen == [True] * len(IN_TURNS)
    assert said.num_compared == len(IN_TURNS)
    assert {each.request for each in said.findings} == {"req-a"}
    assert request_names(run, "fused") == {(0, 0): "req-a", (1, 0): "req-b"}


def test_a_request_that_begins_clears_no_other_one(tmp_path: Path) -> None:
    """Catches a prefill of one request after which what follows another one's error counts as new."""
    order = [(0, 0), (0, 1), (1, 0), (0, 2)]
    with open_trace(tmp_path / "run", engine="an engine of its own") as trace:
        for prompt, number in order:
            with trace.step(prompt_id=prompt, turn=0, step=number) as one:
                row = step(prompt, number, "ab"[prompt])
                shift = prompt == 0 and number > 0
                one.record(**{**row, "position_ids": np.array([row["committed_len"] + shift])})
    said = rejudge(
        open_run(tmp_path / "run"),
        under_test="fused",
        facts=RecordedFacts(),
        max_new_tokens=None,
        judge=judge_recorded(),
        known=(),
    )
    assert [(each.moment.step, each.consequence) for each in said.findings] == [(1, False), (2, True)]
