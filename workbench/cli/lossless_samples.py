"""`specwb lossless --black-box`: samples of an engine against target laws, or against plain decoding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracing.errors import UsageError
from workbench.lossless.black_box import SamplesReport, judged_pairs, judged_samples, samples_of
from workbench.lossless.mistakes import MISTAKES
from workbench.lossless.problem import read_problems

EXIT_OF = {"not lossless": 1, "nothing seen": 0, "inconclusive": 4}


def tested_samples(options: dict[str, Any]) -> SamplesReport:
    """Run the test that the options ask for.

    Raises:
        UsageError: There are no laws, or a sample is none.
    """
    if not options["problem_file"]:
        raise UsageError(
            "--black-box needs --problem FILE: for each prompt a problem of its name, with depth and target; "
            "with --baseline names and depth alone are used"
        )
    if not 0 < options["alpha"] < 1 or not 0 < options["least"] <= 1:
        raise UsageError("--alpha lies between 0 and 1, --least above 0 and up to 1")
    problems = read_problems(Path(options["problem_file"]), options["drafts"], options["width"])
    lengths = {problem.name: problem.depth + 1 for problem in problems}
    samples = samples_of(options["black_box"], lengths, options["max_draws"])
    how = {"alpha": options["alpha"], "least": options["least"], "is_dependent": options["is_dependent"]}
    if options["baseline"]:
        baseline = samples_of(options["baseline"], lengths, options["max_draws"])
        return judged_pairs(samples, baseline, **how)
    return judged_samples(problems, samples, **how)


def report_lines(source: str, report: SamplesReport) -> Iterator[str]:
    """What samples say, as lines."""
    unit = "pairs" if report.parameters.get("pairs") else "draws"
    value = "infinite" if math.isinf(report.log10_value) else f"10^{report.log10_value:.2f}"
    yield f"{source}: {report.verdict} after {report.draws} {unit}"
    alpha = report.parameters["alpha"]
    yield f"  evidence {value}; a lossless engine reaches {1 / alpha:g} with probability {alpha:g} at most"
    if report.alarm:
        if math.isinf(report.alarm.log_value):
            yield "  it emitted tokens of target probability 0"
        elif report.alarm.part:
            yield f"  most like the known mistake {report.alarm.part} ({MISTAKES[report.alarm.part].summary})"
        else:
            yield "  like no known mistake"
    else:
        yield f"  a total variation of {report.smallest:.3g} would have been seen, whatever the mistake"
        for name, draws in report.unseen:
            yield f"  {name} would not have been seen: it needs about {draws:.0f} draws"
    for name, draws in report.below_sight:
        yield (
            f"  {name} is below what can be seen: it needs {draws:.2g} draws"
            if math.isfinite(draws)
            else (f"  {name} is below what can be seen here: its law is the target law")
        )


def report_as_json(source: str, report: SamplesReport) -> dict[str, Any]:
    """What samples say, as data; what is infinite is null."""
    alarm = report.alarm

    def finite(number: float) -> float | None:
        return number if math.isfinite(number) else None

    return {
        "source": source,
        "verdict": report.verdict,
        "draws": report.draws,
        "log10_evidence": finite(report.log10_value),
        "alarm_draw": alarm.draw if alarm else None,
        "same_as": alarm.part if alarm else None,
        "impossible_token": bool(alarm and math.isinf(alarm.log_value)),
        "smallest_visible_total_variation": report.smallest,
        "unseen": [{"mistake": name, "draws": draws} for name, draws in report.unseen],
        "below_sight": [{"mistake": name, "draws": finite(draws)} for name, draws in report.below_sight],
        **report.parameters,
    }
