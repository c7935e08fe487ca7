"""The setting of the studies: the chosen engine, some contexts, and decoders compared context by context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracing.settings import DecodeSettings
from workbench.bench.choices import Choices, with_tree
from workbench.bench.equality import Compare
from workbench.bench.session import BenchSession
from workbench.bench.stats import Distribution, mean, ratio
from workbench.bench.tables import Cell, Plot, Series, Table
from workbench.bench.turn import BenchCase, TurnResult
from workbench.fused.engine import Engine
from workbench.lockstep.choice.decoders import Decoded, Decoder


@dataclass(frozen=True, slots=True)
class Lab:
    """The setting of a study.

    Attributes:
        choices: Settings and operators of the main measurement.
        baseline: Teacher-only decoding of the main measurement.
        all_cases: Every context of the suite whose earlier turns are answered.
        num_cases: How many of them a study decodes.
        results: The main measurement, all proposers.
        proposers: All who draft, as in the main measurement, this one included.
        contenders: Session and choices of those of them that have one drafter.
        write: Writes a file of the results folder.
        tick: Called after each context.
    """

    session: BenchSession
    choices: Choices
    engine: Engine
    baseline: Decoder
    all_cases: Sequence[BenchCase]
    num_cases: int
    results: Sequence[TurnResult]
    proposers: Mapping[str, Decoder] = field(default_factory=dict)
    contenders: Mapping[str, tuple[BenchSession, Choices]] = field(default_factory=dict)
    write: Callable[[str, str], Any] = field(default=lambda _name, _text: None)
    tick: Callable[[], Any] = field(default=lambda: None)

    def cases(self, *, at_least: int = 0) -> list[BenchCase]:
        """Return evenly spread contexts of at least so many tokens."""
        usable = [case for case in self.all_cases if len(case.token_ids) >= at_least]
        count = min(self.num_cases, len(usable))
        return [usable[(2 * i + 1) * len(usable) // (2 * count)] for i in range(count)]

    def side_by_side(
        self,
        entries: Mapping[str, Decoder],
        cases: Sequence[BenchCase] | None = None,
        max_new_tokens: int | None = None,
    ) -> list[Measured]:
        """Compare decoders with teacher-only decoding."""
        return side_by_side(
            self.baseline,
            entries,
            self.cases() if cases is None else cases,
            max_new_tokens=max_new_tokens or self.session.max_new_tokens,
            compare=self.session.compare,
            tick=self.tick,
        )

    def speculative(self, settings: DecodeSettings) -> Decoder:
        """Return speculative decoding with another tree on the chosen engine."""
        return self.session.speculative(with_tree(self.engine, settings))


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of decoding, with the baseline of the same contexts.

    Attributes:
        baseline, decoded: One of each per context whose text equals the teacher's.
        num_refused: Contexts whose text does not.
    """

    name: str
    baseline: tuple[Decoded, ...]
    decoded: tuple[Decoded, ...]
    num_refused: int

    @property
    def tokens_per_second(self) -> float:
        """Mean over contexts."""
        return mean(one.tokens_per_second for one in self.decoded)

    @property
    def speedup(self) -> float:
        """Ratio of mean tokens per second, over the baseline of the same contexts."""
        return ratio(self.tokens_per_second, mean(one.tokens_per_second for one in self.baseline))

    @property
    def mean_of_ratios(self) -> float:
        """Mean of the contexts' own ratios."""
        pairs = zip(self.decoded, self.baseline, strict=True)
        return mean(one.tokens_per_second / base.tokens_per_second for one, base in pairs)

    @property
    def num_accepted(self) -> Distribution:
        """Accepted draft tokens over all steps but the last of each context."""
        return Distribution.of(accepted for one in self.decoded for accepted in one.uncut)


def side_by_side(
    baseline: Decoder,
    entries: Mapping[str, Decoder],
    cases: Sequence[BenchCase],
    *,
    max_new_tokens: int,
    compare: Compare,
    tick: Callable[[], Any] = lambda: None,
) -> list[Measured]:
    """Decode every context with the baseline and each entry; the one that is first rotates.

    Texts are compared with the baseline's; `tick` is called after each context.
    """
    names: list[str | None] = [None, *entries]
    decoded: dict[str | None, list[Decoded]] = {name: [] for name in names}
    if cases:
        for name in names:  # warm up
            (baseline if name is None else entries[name])(cases[0].token_ids, min(16, max_new_tokens))
    for number, case in enumerate(cases):
        start = number % len(names)
        for name in [*names[start:], *names[:start]]:
            decoder = baseline if name is None else entries[name]
            decoded[name].append(decoder(case.token_ids, max_new_tokens))
        tick()
    return [_measured(name, cases, decoded[None], decoded[name], compare) for name in entries]


def _measured(
    name: str,
    cases: Sequence[BenchCase],
    baseline: Sequence[Decoded],
    decoded: Sequence[Decoded],
    compare: Compare,
) -> Measured:
    matches = [
        compare(case.token_ids, base.token_ids, one.token_ids)
        for case, base, one in zip(cases, baseline, decoded, strict=True)
    ]
    own = [number for number, match in enumerate(matches) if match.kind != "different"]
    return Measured(
        name, tuple(baseline[i] for i in own), tuple(decoded[i] for i in own), len(cases) - len(own)
    )


COLUMNS = ("tok/s", "speedup", "mean of ratios", "accept_L mean", "accept_L p90", "refused")


def cells(one: Measured) -> tuple[Cell, ...]:
    """Return the cells under `COLUMNS`."""
    accepted = one.num_accepted
    speeds = (one.tokens_per_second, one.speedup, one.mean_of_ratios)
    return (*speeds, accepted.mean, accepted.p90, one.num_refused)


def speed_table(title: str, first: str, measured: Sequence[Measured], note: str = "") -> Table:
    """Return a table with one line per way of decoding."""
    rows = tuple((one.name, *cells(one)) for one in measured)
    return Table(title, (first, *COLUMNS), rows, note)


def speed_plot(
    kind: str,
    title: str,
    x_label: str,
    x: Sequence[Cell],
    measured: Sequence[Measured],
    *,
    accepted: bool = False,
) -> Plot:
    """Return a plot of the speedup, and where wanted of the mean acceptance, over `x`."""
    series = [Series("speedup", tuple(x), tuple(one.speedup for one in measured))]
    if accepted:
        series.append(Series("mean accept_L", tuple(x), tuple(one.num_accepted.mean for one in measured)))
    y_label = "speedup; accepted tokens" if accepted else "speedup"
    return Plot(kind, title, x_label, y_label, tuple(series), level=1.0)


def refused(measured: Sequence[Measured]) -> int:
    """Return how many texts were refused in all."""
    return sum(one.num_refused for one in measured)
