"""Decoding continued from a recorded step: the committed tokens are prefilled and lockstep continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracing.settings import DecodeSettings, RungName
from workbench.checkpoints.load import LoadedPair
from workbench.fused.path import make_path
from workbench.lockstep.judged_run import run_session
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.request import DiffRequest, Session
from workbench.lockstep.session.turns import Turn
from workbench.report.summary import RunSummary


def continued(
    loaded: LoadedPair,
    settings: DecodeSettings,
    committed: Sequence[int],
    place: tuple[int, int, int],
    *,
    out: Path,
    label: str,
    dtype: str,
    backend: Mapping[str, Any],
    rung: RungName,
    reference_device: str,
) -> RunSummary:
    """Decode on in staged lockstep and record it.

    Args:
        loaded: The pair.
        settings: Of the recording, with the tokens that are left.
        committed: Token ids before the step, its root left out: prefill chooses the root again.
        place: Prompt, turn and step to continue from.
        out: Folder of the new run.
        label: The prompt's name in the manifest.
        dtype: Of the fused path.
        backend: What `workbench.npu.bootstrap` chose.
        rung: Of the reference.
        reference_device: Where the reference runs.
    """
    path = make_path(loaded.pair, settings, device="auto", dtype=dtype)
    turn = Turn(place[0], place[1], lambda _: list(committed))
    request = DiffRequest(
        prompt_file=label,
        out=out,
        options=LockstepOptions(settings=settings),
        backend=backend,
        dtype=dtype,
        rung=rung,
        reference_device=reference_device,
    )
    return run_session(Session(loaded, path, (turn,), dtype), request, lambda _: None)
