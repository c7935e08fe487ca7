"""`--proposer auto` as one more decoder of a benchmark: the choice itself is part of every call's time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from tracing.errors import UsageError
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from workbench.bench.choices import Choices, Progress, calibration_prompts
from workbench.bench.ledger import ledger_study
from workbench.bench.session import BenchRequest, BenchSession
from workbench.bench.store import ResultsFolder
from workbench.bench.tables import Study
from workbench.fused.path import make_engine, path_over
from workbench.lockstep.choice.decoders import Decoder
from workbench.lockstep.choice.orchestrator import Routed, orchestrated_decoder
from workbench.lockstep.choice.policy import MAIN
from workbench.lockstep.choice.policy_file import read_policy
from workbench.lockstep.session.auto import open_auto, probes_for, read_measured
from workbench.lockstep.session.contenders import PolicyModels, SharedWeights, open_lineup

KEPT: Final = "choices"
"""Manifest entry of policy and measurements, as in a run of `specwb diff`."""


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
        {name: each.settings for name, each in choices.items()},
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
    return orchestrated_decoder(auto.orchestrator, RequestLog(folder, request.max_new_tokens).add)


class RequestLog:
    """What was chosen for each measured request: a line of JSON each, beside the turns."""

    def __init__(self, folder: ResultsFolder, max_new_tokens: int) -> None:
        self._path = folder.folder / "requests.jsonl"
        self._max_new_tokens = max_new_tokens

    def add(self, routed: Routed) -> None:
        """Append a request; one of another length is no measured one."""
        if routed.max_new_tokens == self._max_new_tokens:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(routed.as_json(), allow_nan=False) + "\n")

    def study(self, proposers: Mapping[str, str]) -> Study | None:
        """Return what choosing cost, None where nothing was chosen; a line that was cut is left out."""
        if not self._path.exists():
            return None
        whole = self._path.read_bytes().rpartition(b"\n")[0].splitlines()
        try:
            return ledger_study([json.loads(line) for line in whole], proposers) if whole else None
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{self._path} holds a line that is no request; give another --out") from None


def auto_study(folder: ResultsFolder) -> Study | None:
    """Return what choosing cost in the requests of a results folder."""
    held = folder.manifest.get(KEPT)
    return None if held is None else RequestLog(folder, 0).study(held["proposers"])
