"""A path that lives on its own outputs: decoded, recorded and checked, compared with nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracing.errors import EnvironmentProblemError, UsageError
from tracing.moment import STAGES
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from workbench.lockstep.digests import kv_row_digests
from workbench.lockstep.failures import findings_of_failure
from workbench.lockstep.handed import changed_by_tensorize, expected_at_launches
from workbench.lockstep.ledger import Ledger
from workbench.lockstep.patient import Digests, Patient, StepResults
from workbench.lockstep.progress import Progress
from workbench.lockstep.rows import path_columns
from workbench.lockstep.turns import Turn
from workbench.lockstep.watch import LiveWatch

Tick = Callable[[int], None]


def require_all_stages(path: DecodePath) -> None:
    """Refuse a path that cannot decode alone.

    Raises:
        UsageError: A stage is missing.
    """
    missing = [stage for stage in STAGES if getattr(path.stages, stage) is None]
    if missing:
        raise UsageError(
            f"--lockstep free needs every stage, and {path.name} lacks {', '.join(missing)}; use staged"
        )


class AloneRun:
    """Decodes turns on one path.

    Attributes:
        finished: Every turn so far.
        stopped: True when a stage did not finish.
        indices: The index watch beside the path, if asked for.
    """

    def __init__(
        self,
        path: DecodePath,
        settings: DecodeSettings,
        eos: frozenset[int],
        ledger: Ledger,
        watch: LiveWatch,
    ) -> None:
        require_all_stages(path)
        self._name = "reference" if path.name == "reference" else "fused"
        self._settings = settings
        self._eos = eos
        self._ledger = ledger
        self._watch = watch
        self.indices = watch.indices
        self._patient = Patient.begin(path, watch, self.indices.around)
        self.finished: list[Progress] = []
        self.stopped = False

    def run(self, turns: Sequence[Turn], tick: Tick) -> None:
        """Decode all turns."""
        so_far: dict[int, list[int]] = {}
        for turn in turns:
            if self.stopped:
                return
            prompt = turn.context(so_far.get(turn.prompt_id, []))
            progress = Progress(turn.prompt_id, turn.turn, self._settings.max_new_tokens)
            self.finished.append(progress)
            self._turn(progress, prompt, tick)
            so_far[turn.prompt_id] = [*prompt, *progress.emitted]

    def _turn(self, progress: Progress, prompt: list[int], tick: Tick) -> None:
        results = StepResults(committed_len=len(prompt))
        self._ledger.open_step(progress.prompt_id, progress.turn, 0)
        stage = "prefill"
        try:
            results.prefilled = self._patient.run(results, stage, prompt)
            progress.enter(prompt, results.prefilled)
            progress.emit_root(self._eos)
            while progress.stop_reason is None:
                num_emitted = len(progress.emitted)
                for stage in STAGES[1:]:
                    self._run(stage, progress, results)
                    self._ledger.expect(expected_at_launches(stage, results), changed_by_tensorize(results))
                self._close(progress, results)
                tick(len(progress.emitted) - num_emitted)
                if progress.stop_reason is None:
                    results = StepResults(committed_len=len(progress.committed))
                    self._ledger.open_step(progress.prompt_id, progress.turn, progress.step)
        except EnvironmentProblemError:
            raise  # the disk or the device, not the path
        except Exception as error:  # noqa: BLE001  a port may raise anything: a finding, never a crash of ours
            self._ledger.record(self._name, {"launch_refused": f"{stage}: not finished, the run ends here"})
            self._ledger.add(findings_of_failure(progress, stage, error))
            self._ledger.abandon_step()
            self.stopped = True

    def _run(self, stage: str, progress: Progress, results: StepResults) -> None:
        """Run one stage on the path's own results."""
        patient = self._patient
        match stage:
            case "draft":
                results.drafted = patient.run(results, stage)
            case "tensorize":
                results.tensorized = patient.run(results, stage, results.drafted)
            case "verify":
                results.rows_before = patient.main_rows()
                results.verified = patient.run(results, stage, results.tensorized)
                results.branch_rows = self._branch_rows(results)
            case "accept":
                results.accepted = patient.run(
                    results, stage, results.tensorized, results.verified, progress.remaining
                )
            case _:
                results.committed = patient.run(
                    results, stage, results.tensorized, results.verified, results.accepted
                )
                results.rows_after = patient.main_rows()

    def _branch_rows(self, results: StepResults) -> Digests | None:
        assert results.tensorized is not None
        tree = range(results.committed_len, results.committed_len + len(results.tensorized.token_ids))
        rows = self._patient.rows("branch", tree)
        return None if rows is None else kv_row_digests(rows)

    def _close(self, progress: Progress, results: StepResults) -> None:
        columns = path_columns(progress, results, self._settings, self._watch.probe)
        if results.committed is not None:
            columns["committed_len"] = (
                results.committed.committed_len
            )  # its own word: nobody else counts here
        self._ledger.record(self._name, columns | dict(self.indices.take()))
        self._watch.probe.clear()
        found = self._ledger.add([*self._watch.take_findings(), *self._ledger.check_row(self._name)])
        self._ledger.close_step(found[0].verdict if found else "ok")
        progress.take_step(results)
