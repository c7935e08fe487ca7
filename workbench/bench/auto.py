"""`--proposer auto` as one more decoder of a benchmark: the choice itself is part of every call's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, NullWatch
from workbench.bench.choices import Choices, Progress, calibration_prompts
from workbench.bench.session import BenchRequest, BenchSession
from workbench.bench.store import ResultsFolder
from workbench.fused.path import make_engine, path_over
from workbench.judge.turn_state import TurnState
from workbench.lockstep.choice.decoders import Decoded, Decoder, collector_paused
from workbench.lockstep.choice.measured import StepCounts
from workbench.lockstep.choice.orchestrator import Orchestrator
from workbench.lockstep.choice.policy import MAIN
from workbench.lockstep.choice.policy_file import read_policy
from workbench.lockstep.engine.step import begin_turn, steps_of_turn
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.lockstep.session.auto import open_auto, probes_for, read_measured
from workbench.lockstep.session.contenders import PolicyModels, SharedWeights, open_lineup

KEPT: Final = "choices"
"""Manifest entry of policy and measurements, as in a run of `specwb diff`."""
SEARCHES: Final = ("eagle3", "draft_model")


def auto_decoder(
    request: BenchRequest,
    session: BenchSession,
    choices: Mapping[str, Choices],
    folder: ResultsFolder,
    *,
    baseline: Decoder,
    progress: Progress,
) -> Decoder:
    """Return what decodes each request by the choice of a policy; measured first, unless the folder keeps it.

    Args:
        request: With the policy, and where the models are.
        session: Of any drafter of the main teacher.
        choices: Trees that were chosen by measurement, and operators.
        folder: Keeps the measurements.
        baseline: Teacher-only decoding of the main teacher.
        progress: Called with what is being measured.

    Raises:
        SpecwbError: Anything that the user can mend: policy, checkpoint.
    """
    policy = read_policy(request.policy)
    shared = SharedWeights(request.device, request.dtype)
    eager = next(iter(choices.values())).eager

    def build(pair: ModelPair, settings: DecodeSettings) -> DecodePath:
        placed = shared.of(pair)
        return path_over(
            make_engine(placed, settings, device=request.device, dtype=request.dtype, eager=eager)
        )

    lineup = open_lineup(
        policy,
        PolicyModels(model=request.model, drafts=request.drafts, trust_remote_code=request.trust_remote_code),
        replace(DecodeSettings(), max_new_tokens=request.max_new_tokens),
        build,
        {name: choices[name].settings for name in SEARCHES if name in choices},
    )
    earlier = folder.folder if KEPT in folder.manifest else request.measured
    auto = open_auto(
        policy,
        lineup,
        probes_for(policy, lineup, device=request.device, dtype=request.dtype),
        session.stopwatch,
        calibration_prompts(session),
        kept=None if earlier is None else read_measured(Path(earlier)),
        greedy={MAIN: baseline},
        num_tokens=request.max_new_tokens,
        progress=progress,
    )
    if KEPT not in folder.manifest:
        folder.choose(KEPT, auto.orchestrator.about())
    return orchestrated(auto.orchestrator)


def orchestrated(orchestrator: Orchestrator) -> Decoder:
    """Return a decoder that chooses for each call, and learns from its steps after the clock has stopped."""
    stopwatch = orchestrator.stopwatch

    def decode(prompt: Sequence[int], max_new_tokens: int) -> Decoded:
        turn_state = TurnState(0, 0, max_new_tokens)
        with collector_paused():
            start = stopwatch.read()
            chosen = orchestrator.choose(prompt)
            contender = chosen.contender
            running = PathUnderTest.begin(contender.path, NullWatch())
            begin_turn(running, turn_state, prompt, contender.eos_token_ids)
            first = stopwatch.read()
            steps = [
                (len(step.accepted.accepted_nodes), len(step.drafted.token_ids) == 1)
                for step in steps_of_turn(running, turn_state)
            ]
            stop = stopwatch.read()
        whole = steps[:-1]  # the last one is cut
        alone = sum(is_alone for _, is_alone in whole)
        orchestrator.took(chosen, StepCounts(len(whole), sum(accepted for accepted, _ in whole), alone))
        return Decoded(
            token_ids=tuple(turn_state.emitted),
            seconds=stop - start,
            first_token_seconds=first - start,
            num_accepted=tuple(accepted for accepted, _ in steps),
            choice=chosen.decision.choice,
        )

    return decode
