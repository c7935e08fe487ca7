"""Drafter-only attention windows: the teacher's context stays whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workbench.bench.studies.lab import Lab, refused, speed_plot, speed_table
from workbench.bench.tables import Study

WINDOWS: Final = (0, 128, 256, 512)
PAPER_SPEEDUP: Final = "1.15, 0.69, 0.76, 0.87"
PAPER_ACCEPTED: Final = "3.17, 1.48, 1.68, 1.99"


def measure(lab: Lab) -> Study:
    """Measure every window on contexts that are longer than the widest, where there are any."""
    longest = max((len(case.token_ids) for case in lab.all_cases), default=0)
    at_least = WINDOWS[-1] if longest >= WINDOWS[-1] else 0
    cases = lab.cases(at_least=at_least)
    session, engine = lab.session, lab.engine
    entries = {
        "none" if window == 0 else str(window): session.speculative(
            replace(engine, settings=replace(engine.settings, window=window))
        )
        for window in WINDOWS
    }
    measured = lab.side_by_side(entries, cases)
    lengths = [len(case.token_ids) for case in cases]
    names = tuple(one.name for one in measured)
    return Study(
        name="window",
        title="Drafter-only windows",
        text=(
            f"{len(cases)} contexts of {min(lengths, default=0)} to {max(lengths, default=0)} tokens.",
            "The drafter attends to the last tokens only, the teacher to all.",
            f"The paper's Table 3 for {', '.join(names)}: speedup {PAPER_SPEEDUP}.",
            f"The paper's mean accept_L: {PAPER_ACCEPTED}.",
        ),
        tables=(speed_table("Windows", "window", measured),),
        plots=(
            speed_plot(
                "bar",
                "Speed and acceptance over the drafter's window",
                "window, tokens",
                names,
                measured,
                accepted=True,
            ),
        ),
        num_refused=refused(measured),
    )
