"""From a symptom to the step and stage that wrote the wrong row, by running the path again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.locate.subjects import setup_of, subject_of
from tracing.digest import EMPTY, chain
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.stages import DecodePath
from workbench.faults.catalogue import chosen
from workbench.faults.placement import Placement, on_path
from workbench.locate.scene import scene_at
from workbench.locate.symptom import first_symptom, recorded
from workbench.locate.trace_back import Recorded, TracedBack, trace_back
from workbench.lockstep.texts.judging import TextJudge
from workbench.npu import dispatch
from workbench.view.chain_file import Link

STEPS = 4
"""Of the symptom, after the writer."""


def _traced(placement: Placement, step: int = STEPS) -> TracedBack:
    setup = setup_of(max_new_tokens=24)
    with placement.around():
        return trace_back(subject_of(setup, placement), Link(Moment(0, 0, step), "a wrong token"))


def _in_call(stage: str, number: int, change: Callable[[Any], Any]) -> Placement:
    """Spoil what rotary gives in one call of a stage after prefill, in the second layer."""

    def place(path: DecodePath) -> DecodePath:
        run, prefill, calls = getattr(path.stages, stage), path.stages.prefill, [0]
        assert prefill is not None

        def counted(*given: Any) -> Any:
            calls[0] = 0
            return prefill(*given)

        def spoiled(*given: Any) -> Any:
            calls[0] += 1
            if stage != "prefill" and calls[0] != number + 1:
                return run(*given)
            inner = iter(range(10**6))

            def operator(function: Callable[..., Any], *own: Any) -> Any:
                output = function(*own)
                return change(output.clone()) if next(inner) == 1 else output

            with dispatch.wrapped("npu_rotary_mul", lambda function: partial(operator, function)):
                return run(*given)

        return replace(path, stages=replace(path.stages, **{"prefill": counted, stage: spoiled}))

    return on_path(place)


def _first_row(states: Any) -> Any:
    states[:, 0] *= 3
    return states


def test_a_row_computed_wrong_is_traced_to_its_verify_and_operator() -> None:
    traced = _traced(_in_call("verify", 1, _first_row))
    assert traced.writer == Moment(0, 0, 1, "verify", 0)
    assert [str(link.moment) for link in traced.links] == ["0:0:4", "0:0:4:verify", "0:0:1:verify:0"]
    assert traced.located is not None
    assert {each.name for each in traced.located.culprits} == {
        "teacher.layers.1.query",
        "teacher.layers.1.key",
    }
    assert "rotary, teacher.layers.1.query" in traced.links[-1].text


def test_a_row_of_the_context_is_traced_to_prefill() -> None:
    traced = _traced(_in_call("prefill", 0, _first_row))
    assert traced.writer is not None
    assert traced.writer.stage == "prefill"
    assert "rotary" in traced.links[-1].text


@pytest.mark.parametrize(
    ("name", "stage", "words"),
    [
        ("prefix-overwritten-between-steps", "draft", "draft put"),
        ("move-never-written", "commit", "commit put the row of node"),
    ],
)
def test_a_row_that_changed_later_is_traced_to_who_changed_it(name: str, stage: str, words: str) -> None:
    (fault,) = chosen([name])
    traced = _traced(fault.place())
    assert traced.writer is not None
    assert traced.writer.stage == stage
    assert words in traced.links[-1].text
    assert traced.located is None


def test_what_is_wrong_in_the_step_itself_is_not_traced_further() -> None:
    traced = _traced(_in_call("verify", STEPS, _first_row))
    assert traced.writer == Moment(0, 0, STEPS, "verify")
    assert "the cache that this step reads is right" in traced.remarks


def test_a_sound_path_has_no_writer() -> None:
    traced = _traced(Placement())
    assert traced.writer is None
    assert len(traced.links) == 1
    assert traced.remarks[0] == "the cache that this step reads is right"


def test_a_path_that_shows_no_rows_is_said_to() -> None:
    hidden = on_path(lambda path: replace(path, kv_rows=None))
    traced = _traced(hidden, step=1)
    assert traced.writer is None
    assert "shows no rows" in traced.remarks[0]


def test_the_symptom_of_a_recording_is_the_first_token_that_is_wrong() -> None:
    """The recorded tokens of a path that moved wrong rows: the teacher does not choose one of them."""
    (fault,) = chosen(["move-never-written"])
    setup, placement = setup_of(max_new_tokens=48), fault.place()
    subject = subject_of(setup, placement)
    rows: list[dict[str, Any]] = []

    def record(turn_state: Any, results: Any, stage: str, _: Any) -> None:
        if stage == "commit":
            context = [*setup.prompt, turn_state.root] if turn_state.step == 0 else None
            rows.append(
                {
                    "prompt_id": 0,
                    "turn": 0,
                    "step": turn_state.step,
                    "context_token_ids": context,
                    "accepted_nodes": results.accepted.accepted_nodes,
                    "emitted_token_ids": results.accepted.emitted_token_ids,
                    "kv_digest_before": chain(EMPTY, results.rows_before),
                    "committed_len": results.committed_len,
                }
            )

    scene_at(subject, Moment(0, 0, 7, "commit"), after_stage=record)
    turns = recorded(rows)
    symptom, num_judged = first_symptom(turns, (), TextJudge(subject.runner, "float32", frozenset()))
    assert symptom is not None
    assert symptom.moment.stage == "verify"
    assert num_judged > 0
    turn = turns[0, 0]
    before = Recorded(tuple(turn.committed[symptom.moment.step]), turn.digests[symptom.moment.step])
    traced = trace_back(subject_of(setup, fault.place()), symptom, before)
    assert traced.writer is not None
    assert traced.writer.at("commit") == Moment(0, 0, 0, "commit")
    assert traced.remarks[0].endswith("its cache has the recorded bits")
    assert "as the path does" in traced.remarks[1]
    other = trace_back(subject_of(setup), symptom, before)
    assert other.remarks[0].endswith(("other bits than recorded", "the run of now"))


def test_without_a_wrong_token_the_first_error_is_the_symptom() -> None:
    finding = Finding("structural", "fused", Moment(0, 0, 2, "commit"), "kv", rule="KV005", message="moved")
    assert first_symptom({}, [finding], None) == (Link(finding.moment, "KV005 moved"), 0)
    assert first_symptom({}, (), None) == (None, 0)
