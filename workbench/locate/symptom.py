"""What is wrong in a recorded run, seen from its end: a token that the teacher does not choose, a finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tracing.finding import Finding
from tracing.moment import Moment
from workbench.judge.texts import TextRecord
from workbench.judge.turn_state import recorded_turns
from workbench.lockstep.texts.judging import TextJudge
from workbench.view.chain_file import Link


@dataclass(slots=True)
class RecordedTurn:
    """A turn as it was recorded.

    Attributes:
        prompt_id, turn: Which.
        context: What was prefilled first.
        emitted: All tokens.
        steps: Step to the nodes after which its tokens were chosen, in order, and its first token's place.
        committed: Step to the tokens before it.
        digests: Step to the chain over the cache before verify, where recorded.
    """

    prompt_id: int
    turn: int
    context: list[int] = field(default_factory=list)
    emitted: list[int] = field(default_factory=list)
    steps: dict[int, tuple[list[int], int]] = field(default_factory=dict)
    committed: dict[int, list[int]] = field(default_factory=dict)
    digests: dict[int, int] = field(default_factory=dict)

    def place_of(self, position: int) -> Moment:
        """Return where a token was chosen: prefill, or verify with the node before it."""
        for step, (nodes, first) in self.steps.items():
            if first <= position < first + len(nodes):
                return Moment(self.prompt_id, self.turn, step, "verify", nodes[position - first])
        return Moment(self.prompt_id, self.turn, 0, "prefill")


def recorded(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[int, int], RecordedTurn]:
    """Return the turns of a path, by prompt and turn."""
    turns: dict[tuple[int, int], RecordedTurn] = {}
    for row, state in recorded_turns(rows, None):
        key = (state.prompt_id, state.turn)
        own = turns.setdefault(key, RecordedTurn(*key))
        if not own.context and state.is_known:
            own.context = list(state.prompt)
            own.emitted = list(state.emitted)
        tokens, nodes = row.get("emitted_token_ids"), row.get("accepted_nodes")
        own.committed[state.step] = list(state.committed)
        if row.get("kv_digest_before") is not None:
            own.digests[state.step] = int(row["kv_digest_before"])
        if tokens is not None and nodes is not None and len(tokens):
            path = [0, *(int(node) for node in nodes)][: len(tokens)]
            own.steps[state.step] = path, len(own.emitted)
            own.emitted += [int(token) for token in tokens]
    return turns


def first_symptom(
    turns: Mapping[tuple[int, int], RecordedTurn], findings: Iterable[Finding], judge: TextJudge | None
) -> tuple[Link | None, int]:
    """Return the first token that the teacher does not choose, else the first error; how many were judged.

    Args:
        turns: Of the run.
        findings: Recorded ones.
        judge: Judges tokens; None where they cannot be judged.
    """
    num_judged = 0
    for turn in turns.values() if judge is not None else ():
        assert judge is not None
        record = TextRecord(
            number=turn.prompt_id,
            prompt_token_ids=tuple(turn.context),
            output_token_ids=tuple(turn.emitted),
            ignore_eos=True,
        )
        judged = judge(record)
        num_judged += judged.num_tokens
        found = [each for each in judged.findings if each.rule.startswith("JUDGE-TEXT-")]
        if found:
            position = min(each.moment.step for each in found)
            first = next(each for each in found if each.moment.step == position)
            return Link(turn.place_of(position), first.message), num_judged
    error = next((each for each in findings if each.severity == "error"), None)
    link = None if error is None else Link(error.moment, f"{error.rule} {error.message}".strip())
    return link, num_judged
