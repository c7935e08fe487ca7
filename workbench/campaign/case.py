"""One case of a campaign: a prompt and the options under which it is judged, as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tracing.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCase:
    """One case; it holds all that a worker needs besides the models.

    Attributes:
        number: From 0, unique in the plan; the `prompt_id` of its trace.
        name: Of the prompt in its suite.
        turns: User texts.
        cut: So many tokens of the first text are decoded from; None for all.
        over: Axis to value, as typed.
        fault: Name of a fault that is planted, or empty.
        seed: Of the draws where tokens are sampled.
        canary: Whether every worker runs it, so that their numbers can be compared.
        needs: What a worker must have: `device`, `memory_mb` (0 where nobody said), `extra` to install.
    """

    number: int
    name: str
    turns: tuple[str, ...]
    cut: int | None = None
    over: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""
    seed: int = 0
    canary: bool = False
    needs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Digest of what is judged, 12 hex digits; the same case has the same one in every campaign."""
        told = {"turns": self.turns, "cut": self.cut, "over": dict(self.over), "fault": self.fault}
        text = json.dumps({**told, "seed": self.seed, "name": self.name}, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"id": self.id, **asdict(self)}

    def outcome_by(self, worker: str) -> dict[str, Any]:
        """Return the fields with which every outcome of the case begins."""
        return {
            "number": self.number,
            "id": self.id,
            "name": self.name,
            "over": dict(self.over),
            "fault": self.fault,
            "canary": self.canary,
            "worker": worker,
        }

    @classmethod
    def from_json(cls, held: Any, where: str) -> PlannedCase:
        """Return the case that `as_json` gave.

        Raises:
            UsageError: It is something else; `where` names the line.
        """
        names = cls.__dataclass_fields__
        try:
            case = cls(**{name: held[name] for name in names} | {"turns": tuple(held["turns"])})
            if case.is_sound and case.id == held["id"]:
                return case
        except (KeyError, TypeError, AttributeError):
            pass
        raise UsageError(f"{where} holds no case of a campaign; make the plan again")

    @property
    def is_sound(self) -> bool:
        """Whether every field is of its type."""
        texts = (*self.turns, *self.over.values(), self.name, self.fault)
        return (
            type(self.number) is int
            and self.number >= 0
            and bool(self.turns)
            and all(isinstance(text, str) for text in texts)
            and (self.cut is None or (type(self.cut) is int and self.cut > 0))
        )


def needs_of(cases: Sequence[PlannedCase]) -> dict[str, Any]:
    """Return what a worker must have that may get any of these cases."""
    every = [case.needs for case in cases]
    devices = {str(needs.get("device", "auto")) for needs in every} - {"auto"}
    if len(devices) > 1:
        raise UsageError(
            f"the cases need {' and '.join(sorted(devices))}; a campaign runs on one kind of device"
        )
    memory = max((int(needs.get("memory_mb") or 0) for needs in every), default=0)
    return {"device": next(iter(devices), "auto"), "memory_mb": memory}
