"""A step between its beginning and its end, as the writer sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from tracing import journal_frames
from tracing.values import Value


@dataclass(slots=True)
class OpenStep:
    """What the writer keeps of a step that has begun.

    Attributes:
        uid: Its number among the steps that have begun.
        at: Prompt, turn and step.
        facts: Both, as its journal records say them.
        records: Its journal records so far.
        is_journaled: All of them are in the journal.
    """

    uid: int
    at: tuple[int, int, int]
    facts: bytes = field(init=False)
    records: list[journal_frames.Record] = field(default_factory=list)
    is_journaled: bool = True

    def __post_init__(self) -> None:
        self.facts = journal_frames.facts_text({"uid": self.uid, "at": self.at})

    def stage_record(
        self, stage: str, columns: Mapping[str, Value], inputs: Mapping[str, Value]
    ) -> journal_frames.Record:
        """Return the record of a stage about to run.

        Raises:
            TraceError: It is larger than a record can be.
        """
        facts = b"%s,%s" % (self.facts, _stage_text(stage))
        return journal_frames.encode(journal_frames.STAGE, facts, columns, inputs)

    def end_facts(self, number: int) -> bytes:
        """Return what the record of its end says besides columns, given the number of its row."""
        return b'%s,"row":%d' % (self.facts, number)


@lru_cache(maxsize=64)
def _stage_text(stage: str) -> bytes:
    return journal_frames.facts_text({"stage": stage})
