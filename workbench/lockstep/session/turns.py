"""Texts as turns: what each turn prefills; texts that no model could decode are refused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from reference.drafters import drafter_of
from tracing.draws import DrawTape
from tracing.errors import EnvironmentProblemError, UsageError
from tracing.models import ModelPair
from tracing.moment import STAGES
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from workbench.judge.share import Part, Share
from workbench.judge.turn_state import TurnState
from workbench.judge.verdict import Tally
from workbench.lockstep.engine.failures import findings_of_failure
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.recording.watch import LiveWatch
from workbench.lockstep.session.prompts import Prompt


class TurnTokenizer(Protocol):
    """The part of a tokenizer that turns need."""

    def encode(self, text: str, *, special_tokens: bool = True) -> list[int]:
        """Return token ids."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return text."""
        ...

    def apply_chat(self, messages: Sequence[dict[str, str]]) -> str:
        """Return the prompt that the chat template makes of messages."""
        ...


State = TypeVar("State", bound=TurnState)
Tick = Callable[[int], None]
"""Called with the number of new tokens."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn to decode.

    Attributes:
        prompt_id, turn: Which turn.
        context: Given the token ids of everything before it in the prompt, the ids to prefill.
    """

    prompt_id: int
    turn: int
    context: Callable[[Sequence[int]], list[int]]


def with_prompts(
    turns: Sequence[Turn], begin: Callable[[int, int], State]
) -> Iterator[tuple[State, list[int]]]:
    """Yield the new state of each turn and its prompt, which continues all before it in its conversation.

    Args:
        turns: Turns of a conversation in order.
        begin: Makes the state of turn `(prompt_id, turn)`; decoded when the next pair is asked for.
    """
    so_far: dict[int, list[int]] = {}
    for turn in turns:
        prompt = turn.context(so_far.get(turn.prompt_id, []))
        state = begin(turn.prompt_id, turn.turn)
        yield state, prompt
        so_far[turn.prompt_id] = [*prompt, *state.emitted]


def plan_turns(
    prompts: Sequence[Prompt],
    tokenizer: TurnTokenizer,
    pair: ModelPair,
    settings: DecodeSettings,
    *,
    chat: bool,
) -> tuple[Turn, ...]:
    """Return all turns, refusing at once a first text that is empty or too long.

    Raises:
        UsageError: No tokens, or more than the model has positions for.
    """
    turns: list[Turn] = []
    for prompt in prompts:
        planned = [
            Turn(prompt.prompt_id, number, _context(prompt, number, tokenizer, pair, settings, chat=chat))
            for number in range(len(prompt.texts))
        ]
        planned[0].context([])  # refuses before anything is decoded
        turns.extend(planned)
    return tuple(turns)


def _context(
    prompt: Prompt,
    number: int,
    tokenizer: TurnTokenizer,
    pair: ModelPair,
    settings: DecodeSettings,
    *,
    chat: bool,
) -> Callable[[Sequence[int]], list[int]]:
    """Return what makes the ids to prefill; the template of a later turn renders only that user turn."""
    text = prompt.texts[number]

    def context(before: Sequence[int]) -> list[int]:
        rendered = tokenizer.apply_chat([{"role": "user", "content": text}]) if chat else text
        own = tokenizer.encode(rendered, special_tokens=number == 0 and not chat)
        token_ids = [*before, *own[: prompt.cut if number == 0 else None]]
        _require_room(len(token_ids), pair, settings)
        return token_ids

    return context


def _require_room(num_tokens: int, pair: ModelPair, settings: DecodeSettings) -> None:
    if not num_tokens:
        raise UsageError("the prompt has no tokens; a prompt needs at least one")
    limit = pair.teacher.max_position_embeddings
    deepest = settings.deepest(drafter_of(pair).settings)
    needed = num_tokens + settings.max_new_tokens + deepest
    if needed > limit:
        raise UsageError(
            f"the prompt has {num_tokens} tokens; with {settings.max_new_tokens} new ones and a tree "
            f"{deepest} deep it needs {needed} positions and the teacher has {limit}; "
            "shorten the prompt or --max-new-tokens"
        )


class TurnsRunner(ABC):
    """Decodes turns on a path that is watched and recorded.

    Attributes:
        log: The rows and findings of the run.
        indices: The index watch of the path, if it is on.
        finished: Every turn so far, as decoded.
        stopped: True once a finding or a stage that did not finish has ended the run.
        unjudged_steps: Steps decoded and not judged, as requested.
        sampled_out: Of these, the steps between every K-th one.
    """

    def __init__(
        self,
        path: DecodePath,
        settings: DecodeSettings,
        log: RunLog,
        watch: LiveWatch,
        *,
        user_code: UserCode | None = None,
        tape: DrawTape | None = None,
    ) -> None:
        self._settings = settings
        self._watch = watch
        user_code = user_code or UserCode()
        watch.outside = user_code.outside
        tape = tape or DrawTape.seeded(0)
        self._under_test = PathUnderTest(path, None, watch.indices.around, tape, user_code)
        self._under_test.follow_static_inputs()
        self.log = log
        self.indices = watch.indices
        self.finished: list[FedTurnState] = []
        self.stopped = False
        self.unjudged_steps = self.sampled_out = 0

    def run(self, turns: Sequence[Turn], tick: Tick) -> None:
        """Decode all turns until one stops the run."""
        limit = self._settings.max_new_tokens
        if turns and not self._begin(FedTurnState(turns[0].prompt_id, turns[0].turn, limit)):
            return
        for turn_state, prompt in with_prompts(
            turns, lambda prompt_id, turn: FedTurnState(prompt_id, turn, limit)
        ):
            self.finished.append(turn_state)
            self._turn(turn_state, prompt, tick)
            if self.stopped:
                return

    def share(self, tally: Tally) -> Share:
        """Return what a verdict on this run rests on."""
        steps = sum(turn_state.step for turn_state in self.finished) - self.sampled_out
        rules, _ = self.log.rules_and_stages()
        return Share(
            Part(min(tally.num_judged, steps), steps), self._stages_judged(tally), rules if rules.of else None
        )

    def leanings(self) -> dict[str, Any]:
        """Return how far the run leans towards small mistakes, by stage; nothing if not measured."""
        return {}

    def unseen(self) -> dict[str, int]:
        """Return what the path's stages launched without telling -> in how many steps, prefill's in turns."""
        stages = [stage for stage in STAGES if self._under_test.provides(stage)]
        steps = sum(turn_state.step for turn_state in self.finished)
        times = dict.fromkeys(STAGES, steps) | {"prefill": len(self.finished)}
        unseen = self._watch.unseen(stages).items() if steps else ()
        return {f"{what}: {why}": times[what.partition(".")[0]] for what, why in unseen}

    def _stages_judged(self, tally: Tally) -> Part:
        """Return how many of the path's own stages were judged."""
        return tally.stages([stage for stage in STAGES if self._under_test.provides(stage)])

    def _begin(self, turn_state: FedTurnState) -> bool:
        """Take a fresh state of the path; False where that failed, and the run ends before its first step."""
        self.log.open_step(turn_state.prompt_id, turn_state.turn, turn_state.step)
        try:
            self._under_test.start(self._watch)
        except EnvironmentProblemError:
            raise  # the disk or the device, not the path
        except Exception as error:  # noqa: BLE001  what code under test raises is a finding
            found = self.log.add(findings_of_failure(turn_state, "prefill", error))
            self.log.close_step(found)
            self.stopped = True
            return False
        return True

    @abstractmethod
    def _turn(self, turn_state: FedTurnState, prompt: list[int], tick: Tick) -> None:
        """Decode one turn."""
