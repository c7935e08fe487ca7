"""Options of a lockstep run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from tracing.run_facts import SamplingSettings
from tracing.settings import ACCEPTANCES, Acceptance, DecodeSettings

Mode = Literal["staged", "free"]
OnDivergence = Literal["stop", "resync"]
OnViolation = Literal["stop", "eager", "launch"]
MODES: Final[tuple[str, ...]] = get_args(Mode)
ON_DIVERGENCE: Final[tuple[str, ...]] = get_args(OnDivergence)
ON_VIOLATION: Final[tuple[str, ...]] = get_args(OnViolation)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockstepOptions:
    """How to watch and what to do when something is found.

    Attributes:
        settings: Decoding settings, shared by both paths.
        mode: `staged` (values fed, state never) or `free` (each path runs on its own outputs).
        on_divergence: `stop` after the first finding's step, or `resync` and continue.
        on_violation: What a violated rule does before a launch: `stop`, `eager` (finish the step on the
            reference's values) or `launch` anyway.
        steps: Half-open range of step numbers to judge; the others are decoded and counted as unjudged.
        judge_every: Judge every K-th step only.
        watch_indices: Record which index values the path used, place by place; slower.
        seed, generator: Of the draws, where tokens are sampled.
        repeat: Repeat prefill and one clean step a turn and compare the bits.
    """

    settings: DecodeSettings
    mode: Mode = "staged"
    on_divergence: OnDivergence = "stop"
    on_violation: OnViolation = "stop"
    steps: tuple[int, int | None] = (0, None)
    judge_every: int = 1
    watch_indices: bool = False
    repeat: bool = True
    seed: int = 0
    generator: str = "philox"

    @property
    def sampling(self) -> SamplingSettings | None:
        """How every request of the run chooses; None where it is greedy."""
        settings = self.settings
        if settings.is_greedy or settings.acceptance not in ACCEPTANCES:
            return None
        return SamplingSettings(
            temperature=settings.temperature,
            top_k=settings.sampling_top_k,
            top_p=settings.top_p,
            seed=self.seed,
            acceptance=cast("Acceptance", settings.acceptance),
            generator=self.generator,
        )

    def samples(self, step: int) -> bool:
        """Return whether this step is one of every K that are spread over the whole turn."""
        return (step - self.steps[0]) % self.judge_every == 0

    def judges(self, step: int) -> bool:
        """Return whether this step is judged."""
        start, stop = self.steps
        return step >= start and (stop is None or step < stop) and self.samples(step)
