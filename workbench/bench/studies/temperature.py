"""Acceptance and speed by temperature: greedy, and sampled by EAGLE's posterior, which loses nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workbench.bench.studies.lab import Lab, side_by_side, speed_plot, speed_table
from workbench.bench.tables import Study
from workbench.bench.turn import Match

TEMPERATURES: Final = (0.0, 0.6, 1.0)


def measure(lab: Lab) -> Study:
    """Measure every temperature over the same contexts, each with the draws of one seed."""
    engine, cases = lab.engine, lab.cases()
    entries = {}
    for temperature in TEMPERATURES:
        settings = engine.settings
        if temperature:
            settings = replace(settings, acceptance="eagle", temperature=temperature)
        name = f"{temperature:g}" if temperature else "greedy"
        entries[name] = lab.session.speculative(replace(engine, settings=settings))
    measured = side_by_side(
        lab.baseline,
        entries,
        cases,
        max_new_tokens=lab.session.max_new_tokens,
        compare=lambda *_: Match("equal"),
        tick=lab.tick,
    )
    names = tuple(one.name for one in measured)
    return Study(
        name="temperature",
        title="Acceptance by temperature",
        text=(
            f"{len(cases)} contexts, sampled by EAGLE's posterior without top-k and top-p, seed 0.",
            "The baseline is teacher-only greedy decoding; sampling it would add one softmax a token.",
            "Sampled texts are not compared: another draw is another text.",
        ),
        tables=(speed_table("Temperatures", "temperature", measured),),
        plots=(
            speed_plot(
                "bar", "Speed and acceptance by temperature", "temperature", names, measured, accepted=True
            ),
        ),
    )
