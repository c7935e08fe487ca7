"""Decoding continued from a recorded step: the committed tokens are prefilled and lockstep continues."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.checkpoints.load import LoadedPair
from workbench.fused.path import make_path
from workbench.lockstep.judged_run import run_session
from workbench.lockstep.session.request import DiffRequest, Session
from workbench.lockstep.session.turns import Turn
from workbench.report.summary import RunSummary


def continued(
    loaded: LoadedPair, request: DiffRequest, committed: Sequence[int], place: tuple[int, int, int]
) -> RunSummary:
    """Decode further in staged lockstep and record it.

    Args:
        loaded: The pair.
        request: The run to record; its settings are the recording's, with the tokens that are left.
        committed: Token ids before the step, its root left out: prefill chooses the root again.
        place: Prompt, turn and step to continue from.
    """
    path = make_path(loaded.pair, request.options.settings, device="auto", dtype=request.dtype)
    turn = Turn(place[0], place[1], lambda _: list(committed))
    return run_session(Session(loaded, path, (turn,), request.dtype), request, lambda _: None)
