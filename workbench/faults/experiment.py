"""One run with a fault in it: in lockstep, as `specwb diff` sees it, and running freely, as a user does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from invariants.context import RunContext
from reference.drafters import drafter_of
from tracing.draws import DrawTape
from tracing.finding import Finding
from tracing.models import ModelPair
from tracing.recorder import RunWriter, Trace
from tracing.run_facts import ModelFacts
from tracing.settings import RUNGS, DecodeSettings
from tracing.stages import DecodePath, NullWatch
from workbench.faults.placement import Columns, Placement
from workbench.fused.path import make_path
from workbench.judge.turn_state import TurnState
from workbench.judge.verdict import Tally
from workbench.lockstep.engine.step import begin_turn, steps_of_turn
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.lockstep.judged_run import limits_of
from workbench.lockstep.session.job import LockstepOptions, OnViolation
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.staged.run import judge_turns
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.npu.modes import use_mode

OURS: Final = ModelFacts(shown_layer=0)
"""What our path states of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One decoding job.

    Attributes:
        settings: Tree shape, length and commit mode.
        dtype, device: Of the path under test.
        token_bytes: Raw bytes of a token id, for the trace's vocabulary.
        stated: What the path under test states of itself; ours shows its first layer.
    """

    pair: ModelPair
    prompt: tuple[int, ...]
    settings: DecodeSettings
    dtype: str = "float32"
    device: str = "cpu"
    reference_device: str = "cpu"
    rung: str = RUNGS[0]
    token_bytes: Any = None
    stated: ModelFacts = OURS

    @property
    def context(self) -> RunContext:
        """Limits that the rules may ask for."""
        reads = drafter_of(self.pair).settings
        return RunContext.from_settings(self.settings, self.pair, reads=reads, model_facts=self.model_facts)

    @property
    def model_facts(self) -> ModelFacts:
        """What is lawful for the pair and the path under test."""
        return ModelFacts.of_model(self.pair, self.stated, drafter_window=self.settings.window)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What lockstep found in a run.

    Attributes:
        emitted: Tokens of the turn, as far as it came.
    """

    findings: tuple[Finding, ...]
    emitted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FreeDecode:
    """What a user of the unobserved path would have seen.

    Attributes:
        emitted: Tokens of the turn.
        num_accepted: Draft nodes accepted per step, steps cut at the end left out.
        first_tree: Tokens drafted in the first step.
        error: What the path raised, or empty.
    """

    emitted: tuple[int, ...]
    num_accepted: tuple[int, ...]
    first_tree: frozenset[int] = frozenset()
    error: str = ""

    @property
    def mean_accepted(self) -> float:
        """Mean of accepted draft nodes per uncut step; 0 without any."""
        return sum(self.num_accepted) / max(len(self.num_accepted), 1)


def run_lockstep(
    setup: Setup,
    placement: Placement,
    folder: Path,
    *,
    manifest: Mapping[str, Any] | None = None,
    on_violation: OnViolation = "stop",
) -> Outcome:
    """Decode in staged lockstep with a fault in place, and record it."""
    with placement.around():
        path = faulty_path(setup, placement)
        runner = ReferenceRunner(
            setup.pair,
            setup.settings,
            path_dtype=setup.dtype,
            rung=setup.rung,
            device=setup.reference_device,
            model_facts=setup.model_facts,
        )
        if placement.runner is not None:
            placement.runner(runner)
        tally = Tally(chain=runner.is_chain)
        options = LockstepOptions(
            settings=setup.settings, on_violation=on_violation, generator="philox_edges"
        )
        with RunWriter(folder, _manifest(setup, path, manifest), token_bytes=setup.token_bytes) as writer:
            staged = judge_turns(
                replace(path, info=_info(path)),
                runner,
                setup.pair,
                options,
                [Turn(0, 0, lambda before: [*before, *setup.prompt])],
                writer=writer,
                context=setup.context,
                tally=tally,
                dtype=setup.dtype,
                traced=lambda trace: SpoiledTrace(trace, placement) if placement.rows else trace,
                on_error="raise",
            )
            verdict = tally.verdict()
            writer.update(verdict=verdict.verdict, exit_code=verdict.exit_code, coverage=verdict.coverage)
    emitted = tuple(staged.finished[0].emitted) if staged.finished else ()
    return Outcome(tuple(staged.log.findings), emitted)


def run_free(setup: Setup, placement: Placement) -> FreeDecode:
    """Decode with a fault in place, unobserved; calls do what the device would do."""
    turn_state = TurnState(0, 0, setup.settings.max_new_tokens)
    error, first_tree = "", frozenset[int]()
    with placement.around(), use_mode("hardware"):
        under_test = PathUnderTest.begin(
            faulty_path(setup, placement), NullWatch(), draws=DrawTape.seeded(0, "philox_edges")
        )
        try:
            first_tree = _decode(under_test, turn_state, setup)
        except Exception as problem:  # noqa: BLE001  a faulty path may raise anything; it is reported
            error = f"{type(problem).__name__}: {problem}"
    return FreeDecode(tuple(turn_state.emitted), tuple(turn_state.num_accepted), first_tree, error)


def faulty_path(setup: Setup, placement: Placement) -> DecodePath:
    """Return our fused path with a fault in place."""
    return placement.path(make_path(setup.pair, setup.settings, device=setup.device, dtype=setup.dtype))


def _decode(under_test: PathUnderTest, turn_state: TurnState, setup: Setup) -> frozenset[int]:
    """Decode one turn into `turn_state`; return the tokens of the first tree."""
    first_tree: frozenset[int] = frozenset()
    begin_turn(under_test, turn_state, setup.prompt, setup.pair.eos_token_ids)
    for step in steps_of_turn(under_test, turn_state):
        first_tree = first_tree or frozenset(step.drafted.token_ids[1:].tolist())
    return first_tree


def _info(path: DecodePath) -> dict[str, Any]:
    """What the path reports about itself, without what names this machine."""
    return {name: value for name, value in path.info.items() if name != "backend"}


def _manifest(setup: Setup, path: DecodePath, more: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "lockstep": "staged",
        "engine": path.name,
        "argv": ["specwb", "faults", "run"],
        "settings": setup.settings.as_read(drafter_of(setup.pair).settings),
        "limits": limits_of(setup.context),
        "model_facts": asdict(setup.model_facts),
        **(more or {}),
    }


class SpoiledTrace:
    """A recorder whose rows are spoiled on their way to the disk, one row at a time."""

    def __init__(self, trace: Trace, placement: Placement) -> None:
        self._trace = trace
        self._placement = placement

    def step(self, **at: int) -> SpoiledStep:
        """Return one step to record."""
        return SpoiledStep(self, at)

    def write(self, row: Columns) -> None:
        """Record what the fault makes of a row, if anything."""
        assert self._placement.rows is not None
        made = self._placement.rows(self._trace.name, row)
        if made is None:
            return
        at = {name: int(made[name]) for name in ("prompt_id", "turn", "step")}
        with self._trace.step(**at) as step:
            step.record(**{name: value for name, value in made.items() if name not in at})


class SpoiledStep:
    """Collects the columns of one step."""

    def __init__(self, trace: SpoiledTrace, at: Mapping[str, int]) -> None:
        self._trace = trace
        self._row: dict[str, Any] = dict(at)

    def record(self, **columns: Any) -> None:
        """Keep columns until the step ends."""
        self._row.update(columns)

    def about_to_run(self, stage: str, columns: Columns | None = None) -> None:
        """Journal nothing: the fault is in the row."""

    def __enter__(self) -> SpoiledStep:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._trace.write(self._row)
