"""Where pages, code and reports disagree: claims with sources, what we follow, and what would settle it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tracing.errors import ContractError

Probe = Callable[[str], str]
"""A small experiment: takes a torch device, returns what it observed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One of the answers that a source gives.

    Attributes:
        observation: What a probe observes where this claim is true.
        source: Where it is claimed.
    """

    observation: str
    source: str


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A question with more than one documented answer.

    Attributes:
        key: Stable name, also of its probe.
        operator: The operator in question.
        question: The question, one line.
        claims: The answers.
        followed: Observation that the emulation and the fused path go by.
    """

    key: str
    operator: str
    question: str
    claims: tuple[Claim, ...]
    followed: str


REFUSALS: Final = (ContractError, RuntimeError, ValueError, TypeError)
"""What a refused call raises: our contract off the device, torch_npu on it."""
KERNEL_FAULTS: Final = ("507011", "507015", "507035")
"""Error codes of a kernel that ran and died (aicore, vector core); that is no refusal."""

KNOWN: dict[str, tuple[Contradiction, Probe]] = {}
"""Every contradiction with its probe, by key; `workbench.npu.probes` fills it."""


def contradiction(
    operator: str, question: str, claims: Mapping[str, str], *, followed: str
) -> Callable[[Probe], Probe]:
    """Make the decorated function the probe of a contradiction, under the function's name.

    `claims` maps what the probe observes where a source is right to that source; see `Contradiction`.
    """

    def register(probe: Probe) -> Probe:
        answers = tuple(Claim(observation, source) for observation, source in claims.items())
        key = probe.__name__
        KNOWN[key] = Contradiction(key, operator, question, answers, followed), probe
        return probe

    return register


def accepted(call: Callable[[], Any]) -> str:
    """Return `accepted` or `refused`; the copy to the host waits for the device's own verdict."""
    try:
        result = call()
        for tensor in result if isinstance(result, tuple) else (result,):
            tensor.cpu()
    except REFUSALS as refusal:
        return refused(refusal)
    return "accepted"


def refused(refusal: Exception) -> str:
    """Return `refused`; the reason goes to standard error, for the probe's log.

    Raises:
        Exception: The refusal itself when it reports a kernel fault; the probe then fails, unanswered.
    """
    if any(code in str(refusal) for code in KERNEL_FAULTS):
        raise refusal
    print(f"refused: {refusal}", file=sys.stderr)
    return "refused"
