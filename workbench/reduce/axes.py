"""What of a run can be made smaller: steps, tokens, tree, options; axes return what still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reference.drafters import drafter_of
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.static_tree import static_tree
from workbench.reduce.case import RunCase
from workbench.reduce.delta import smallest_list, smallest_number
from workbench.reduce.outcome import CaseOutcome

Ask = Callable[[Sequence[RunCase]], int | None]
"""Returns the place of the first case that keeps the finding."""


@dataclass(frozen=True, slots=True)
class Room:
    """What an axis works with.

    Attributes:
        pair: The whole pair.
        ask: Which of several cases keeps the finding first.
        outcome: What a case showed that was run.
        can_be_eager: Whether operators of the path under test can.
    """

    pair: ModelPair
    ask: Ask
    outcome: Callable[[RunCase], CaseOutcome | None]
    can_be_eager: bool = True

    def best(self, case: RunCase, candidates: Sequence[RunCase]) -> RunCase:
        """Return the first candidate that keeps the finding, else the case."""
        found = self.ask(candidates) if candidates else None
        return case if found is None else candidates[found]

    def number(self, case: RunCase, current: int, made: Callable[[int], RunCase], **bounds: int) -> RunCase:
        """Return the case with a number as small as keeps the finding."""
        smallest = smallest_number(
            current, lambda numbers: self.ask([made(each) for each in numbers]), **bounds
        )
        return case if smallest == current else made(smallest)

    def part(
        self, case: RunCase, items: tuple[Any, ...], made: Callable[[tuple[Any, ...]], RunCase]
    ) -> RunCase:
        """Return the case with as few items as keep the finding."""
        smallest = smallest_list(items, lambda parts: self.ask([made(each) for each in parts]))
        return case if len(smallest) == len(items) else made(smallest)


Axis = Callable[[RunCase, Room], RunCase]


def with_settings(case: RunCase, **changes: Any) -> RunCase:
    """Return a case with other settings."""
    return replace(case, settings=replace(case.settings, **changes))


def unrepeated(case: RunCase, room: Room) -> RunCase:
    """Leave the bit-by-bit repetition out."""
    return room.best(case, [replace(case, repeat=False)] if case.repeat else [])


def later_start(case: RunCase, room: Room) -> RunCase:
    """Begin right before the step of the finding, with what was committed until then as the prompt."""
    outcome = room.outcome(case)
    if outcome is None or outcome.finding is None:
        return case
    turn, step = int(outcome.finding["turn"]), int(outcome.finding["step"])
    context: list[int] = []
    for number in range(turn):
        context += [*case.turns[number], *outcome.emitted[number]]
    context += case.turns[turn]
    candidates = []
    for back in _backwards(step):
        accepted = outcome.num_accepted[turn][: step - back]
        count = sum(each + 1 for each in accepted)
        left = case.settings.max_new_tokens - count
        begun = replace(case, turns=((*context, *outcome.emitted[turn][:count]),))
        candidates.append(with_settings(begun, max_new_tokens=left))
    candidates.append(replace(case, turns=case.turns[: turn + 1]))
    return room.best(case, [each for each in candidates if each != case])


def _backwards(step: int) -> Iterator[int]:
    """Yield how many steps before the finding to begin: none, one, two, four, ..., all."""
    back = 0
    while back < step:
        yield back
        back = 2 * back or 1
    yield step


def fewer_tokens(case: RunCase, room: Room) -> RunCase:
    """Leave turns and tokens of the prompt out, the first ones first."""
    if len(case.turns) > 1:
        case = room.part(case, case.turns, lambda turns: replace(case, turns=turns))
    for number in range(len(case.turns)):
        case = _fewer_of_turn(case, room, number)
    return case


def _fewer_of_turn(case: RunCase, room: Room, number: int) -> RunCase:
    def made(kept: tuple[int, ...]) -> RunCase:
        return replace(case, turns=(*case.turns[:number], kept, *case.turns[number + 1 :]))

    tokens = case.turns[number]
    count = smallest_number(len(tokens), lambda counts: room.ask([made(tokens[-each:]) for each in counts]))
    kept = smallest_list(tokens[-count:], lambda parts: room.ask([made(each) for each in parts]))
    return made(kept)


def fewer_steps(case: RunCase, room: Room) -> RunCase:
    """Emit fewer tokens."""
    return room.number(
        case, case.settings.max_new_tokens, lambda count: with_settings(case, max_new_tokens=count)
    )


def smaller_tree(case: RunCase, room: Room) -> RunCase:
    """Leave nodes, levels and candidates out."""
    reads = drafter_of(room.pair).settings
    if "static_tree" in reads:
        return _smaller_static_tree(case, room)
    case = room.number(
        case, case.settings.tree_nodes, lambda count: with_settings(case, tree_nodes=count), least=2
    )
    if "depth" in reads:
        case = room.number(case, case.settings.depth, lambda depth: with_settings(case, depth=depth), least=0)
        case = room.number(case, case.settings.top_k, lambda count: with_settings(case, top_k=count))
    return case


def _smaller_static_tree(case: RunCase, room: Room) -> RunCase:
    def made(paths: tuple[tuple[int, ...], ...]) -> RunCase:
        closed = [path for path in paths if all(path[:end] in paths for end in range(1, len(path)))]
        text = " ".join(".".join(map(str, path)) for path in closed) or "0"
        return with_settings(case, static_tree=text, tree_nodes=1 + len(closed or [0]))

    return room.part(case, tuple(static_tree(case.settings.static_tree)), made)


def plainer_options(case: RunCase, room: Room) -> RunCase:
    """Set options back to what they usually are, one after the other."""
    usual = DecodeSettings()
    for names in _OPTIONS:
        changes = {name: getattr(usual, name) for name in names}
        if any(getattr(case.settings, name) != value for name, value in changes.items()):
            case = room.best(case, [with_settings(case, **changes)])
    if case.dtype not in ("auto", "float32"):
        case = room.best(case, [replace(case, dtype="float32")])
    if room.can_be_eager:
        case = _eager(case, room)
    return case


_OPTIONS: Final = (
    ("acceptance", "temperature", "sampling_top_k", "top_p"),
    ("temperature",),
    ("sampling_top_k",),
    ("top_p",),
    ("kv_layout", "block_size"),
    ("commit_mode",),
    ("window",),
    ("lookup_rule", "lookup_min", "lookup_max"),
)


def _eager(case: RunCase, room: Room) -> RunCase:
    """Run as many operators eagerly as keep the finding: what is left fused is what it takes."""
    from tracing.settings import EAGER_OPERATORS

    fused = tuple(name for name in EAGER_OPERATORS if name not in case.eager)
    everything = replace(case, eager=tuple(EAGER_OPERATORS))
    if not fused or room.best(case, [everything]) == everything:
        return everything
    return room.part(
        case,
        fused,
        lambda kept: replace(case, eager=tuple(name for name in EAGER_OPERATORS if name not in kept)),
    )
