"""Staged lockstep where every request is decoded, and judged, with the drafter that was chosen for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from invariants.context import RunContext
from invariants.run import Checker
from tracing.models import ModelPair
from tracing.recorder import RunWriter
from tracing.stages import DecodePath
from workbench.judge.verdict import Tally
from workbench.lockstep.choice.orchestrator import Orchestrator, Overhead, RequestChoice
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.session.auto import AutoSession
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Tick, Turn
from workbench.lockstep.staged.driver import Driver
from workbench.lockstep.staged.judging import StepJudge
from workbench.lockstep.staged.run import StagedRun
from workbench.lockstep.truth.reference_runner import ReferenceRunner

OFTEN: Final = 64
"""So many requests are written down one by one; later ones so many at a time, and at the end."""


@dataclass(frozen=True, slots=True)
class JudgedChoice:
    """What judges the requests of one choice.

    Attributes:
        pair: The models.
        context: Limits that the rules may ask for.
        make_runner: Makes the reference; called again when the choice comes back after another.
        is_chain: No tree of the choice can branch.
    """

    pair: ModelPair
    context: RunContext
    make_runner: Callable[[], ReferenceRunner]
    is_chain: bool = False


class OrchestratedRun(StagedRun):
    """Decodes turns, each with the path that the orchestrator chose; each is judged with that path's models.

    Attributes:
        requests: What was chosen for each turn, and why, as plain data.
    """

    def __init__(
        self,
        orchestrator: Orchestrator,
        choices: Mapping[str, JudgedChoice],
        options: LockstepOptions,
        log: RunLog,
        *,
        dtype: str,
        user_code: UserCode,
        write: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        name, first = next(iter(orchestrator.contenders.items()))
        self._orchestrator, self._choices, self._write = orchestrator, choices, write
        self._asked, self._dtype, self._code = options, dtype, user_code
        self._taken = name
        self._runner = choices[name].make_runner()
        self.requests: list[dict[str, Any]] = []
        super().__init__(
            first.path,
            self._runner,
            choices[name].pair,
            replace(options, settings=first.settings),
            log,
            dtype=dtype,
            user_code=user_code,
        )

    @property
    def reference_info(self) -> dict[str, Any]:
        """Plain data about the reference, the same for all choices."""
        return self._runner.info

    def _turn(self, turn_state: FedTurnState, prompt: list[int], tick: Tick) -> None:
        chosen = self._orchestrator.choose(prompt)
        start = time.perf_counter()
        self._take(chosen)
        begun = self._begin(turn_state)
        overhead = replace(chosen.overhead, switch=1e3 * (time.perf_counter() - start))
        self._note(turn_state, chosen, overhead)
        if not begun:
            return
        super()._turn(turn_state, prompt, tick)
        self._orchestrator.took(chosen, turn_state)

    def _take(self, chosen: RequestChoice) -> None:
        """Let the chosen path, its reference and its limits stand in for those before."""
        contender, choice = chosen.contender, self._choices[chosen.contender.name]
        if contender.name != self._taken:
            self._runner = choice.make_runner()
        self._taken = contender.name
        self._settings = contender.settings
        self._options = replace(self._asked, settings=contender.settings)
        self._eos = choice.pair.eos_token_ids
        self._under_test = self._new_path(contender.path)
        self._driver = Driver(
            self._under_test,
            self._runner,
            eager=self._asked.on_violation == "eager",
            announce=self.log.announce,
        )
        self.judge = StepJudge(self._runner, self._options, self._under_test, self._dtype)
        self.log.limit(choice.context)

    def _new_path(self, path: DecodePath) -> PathUnderTest:
        tape = self._under_test.draws
        made = PathUnderTest(path, None, self._watch.indices.around, tape, self._code)
        made.follow_static_inputs()
        return made

    def _note(self, turn_state: FedTurnState, chosen: RequestChoice, overhead: Overhead) -> None:
        self.requests.append(
            {
                "prompt_id": turn_state.prompt_id,
                "turn": turn_state.turn,
                "proposer": chosen.contender.proposer,
                "teacher": chosen.contender.teacher,
                **chosen.decision.as_json(),
                "overhead_ms": overhead.as_json(),
            }
        )
        if len(self.requests) <= OFTEN or len(self.requests) % OFTEN == 0:
            self._write(self.requests)


def judge_requests(
    auto: AutoSession,
    options: LockstepOptions,
    turns: Sequence[Turn],
    *,
    choices: Mapping[str, JudgedChoice],
    writer: RunWriter,
    context: RunContext,
    tally: Tally,
    dtype: str,
    user_code: UserCode,
    tick: Tick = lambda _: None,
) -> OrchestratedRun:
    """Decode turns in staged lockstep, choosing for each; the choices stand in the manifest.

    Args:
        auto: What chooses, and the models.
        options: How to watch and judge.
        turns: What to decode.
        choices: What judges each choice.
        writer: The folder being written.
        context: Limits that hold whatever is chosen.
        tally: The verdict so far.
        dtype: The tested path's dtype by name.
        user_code: Calls the code of the path under test.
        tick: Called with the number of new tokens.
    """
    paths = [contender.path for contender in auto.orchestrator.contenders.values()]
    lacks = frozenset.intersection(*(frozenset(path.lacks) for path in paths))
    runner = choices[next(iter(auto.orchestrator.contenders))].make_runner()
    traces = (
        writer.path("fused", lacks=lacks, info=dict(paths[0].info), on_error="warn"),
        writer.path("reference", lacks=runner.lacks, info=runner.info),
    )
    log = RunLog(writer, {trace.name: trace for trace in traces}, Checker(context), tally)
    about = auto.about()

    def write(requests: list[dict[str, Any]]) -> None:
        writer.update(choices={**about, "requests": requests})

    write([])
    run = OrchestratedRun(
        auto.orchestrator, choices, options, log, dtype=dtype, user_code=user_code, write=write
    )
    try:
        run.run(turns, tick)
    finally:
        log.abandon_step()
    write(run.requests)
    tally.chain = all(choices[str(each["choice"])].is_chain for each in run.requests)
    log.limit(context)
    log.finish()
    return run
