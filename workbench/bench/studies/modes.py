"""Execution modes: all operators fused, all eager, one eager at a time; and another dtype."""

from __future__ import annotations

from typing import Final

from workbench.bench.stats import mean, ratio
from workbench.bench.studies.lab import Lab, Measured, refused, side_by_side
from workbench.bench.tables import Cell, Plot, Series, Study, Table
from workbench.lockstep.choice.kernels import OPERATORS, eager_name

OTHER_DTYPE: Final = {"float32": "bfloat16", "bfloat16": "float16"}


def measure(lab: Lab) -> Study:
    """Measure each mode against teacher-only decoding in the same mode, contexts in the same order."""
    modes: dict[str, tuple[frozenset[str], str]] = {
        eager_name(eager): (eager, lab.session.dtype)
        for eager in (frozenset(), frozenset(OPERATORS), *(frozenset({one}) for one in OPERATORS))
    }
    modes.setdefault(eager_name(lab.choices.eager), (lab.choices.eager, lab.session.dtype))
    other = OTHER_DTYPE.get(lab.session.dtype)
    if other is not None:
        modes[f"{other}, {eager_name(lab.choices.eager)}"] = (lab.choices.eager, other)
    measured = [_mode(lab, name, *how) for name, how in modes.items()]
    fastest = max(_greedy_speed(one) for one in measured)
    head = ("mode", "greedy tok/s", "speculative tok/s", "speedup in this mode", "over the fastest greedy")
    names = tuple(one.name for one in measured)
    return Study(
        name="modes",
        title="Execution modes",
        text=(
            "The tree is the chosen one everywhere, each mode has its own teacher-only baseline.",
            "Without a device fused operators are emulations that check each call; speed is no device's.",
            f"Fastest teacher-only decoding: {fastest:.1f} tok/s.",
        ),
        tables=(
            Table(
                "Modes", (*head, "accept_L mean", "refused"), tuple(_row(one, fastest) for one in measured)
            ),
        ),
        plots=(
            Plot(
                "bar",
                "Speed by mode",
                "",
                "tokens per second",
                (
                    Series("greedy", names, tuple(_greedy_speed(one) for one in measured)),
                    Series("speculative", names, tuple(one.tokens_per_second for one in measured)),
                ),
            ),
        ),
        num_refused=refused(measured),
    )


def _mode(lab: Lab, name: str, eager: frozenset[str], dtype: str) -> Measured:
    session = lab.session
    engine = session.engine(lab.choices.settings, eager, dtype=dtype)
    (measured,) = side_by_side(
        session.greedy(engine),
        {name: session.speculative(engine)},
        lab.cases(),
        max_new_tokens=session.max_new_tokens,
        compare=session.judge(dtype),
        tick=lab.tick,
    )
    return measured


def _greedy_speed(one: Measured) -> float:
    return mean(base.tokens_per_second for base in one.baseline)


def _row(one: Measured, fastest: float) -> tuple[Cell, ...]:
    speed = one.tokens_per_second
    gains = (one.speedup, ratio(speed, fastest))
    return (one.name, _greedy_speed(one), speed, *gains, one.num_accepted.mean, one.num_refused)
