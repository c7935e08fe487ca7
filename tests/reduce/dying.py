"""A process that runs trials and ends at one of them; it loads no torch."""

from __future__ import annotations

from multiprocessing.connection import Connection

from workbench.reduce.outcome import CaseOutcome, CaseTrial
from workbench.reduce.source import RunSource

FINDING = {"rule": "RULE", "stage": "verify", "guilty": "fused", "message": "wrong", "turn": 0, "step": 0}


def serve(connection: Connection, _source: RunSource) -> None:
    """End the process at a case with seed 1."""
    while True:
        try:
            trial: CaseTrial = connection.recv()
        except EOFError:
            return
        if trial.case.seed == 1:
            raise SystemExit(9)
        connection.send(CaseOutcome(finding=FINDING if trial.case.seed else None))
