"""The report of the gates as a page of the benchmark's kind: one file, no network."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from workbench.bench.report import page_of_studies
from workbench.bench.tables import Cell, Plot, Series, Study, Table
from workbench.kernels.reports import KernelReport
from workbench.kernels.scores import scores
from workbench.kernels.text import as_json


def kernels_page(reports: Sequence[KernelReport], *, with_tables: bool = False) -> str:
    """Return the page.

    Args:
        reports: Of the gates.
        with_tables: Measure what papers of such kernels have in their tables, too; about a minute.

    Raises:
        EnvironmentProblemError: The extra that draws it is not installed.
    """
    from workbench.npu.bootstrap import current

    backend = current()
    about = (
        f"{platform.machine()} {platform.processor()}; operators by backend "
        f"{backend.name if backend else '?'}. Times are this machine's; on a host they are those of an "
        "emulation or of the candidate, and say nothing of an NPU."
    )
    studies = [gates_study(reports), cases_study(reports), *speed_studies(reports), scores_study(reports)]
    if with_tables:
        studies += _published_tables()
    return page_of_studies(studies, {"about": about, **as_json(reports)}, title="specwb kernels")


def _published_tables() -> list[Study]:
    """Return int4 by shape, ratio and throughput of lossless weights, and the imbalance of experts."""
    from workbench.bench.studies.enec import lossless_study
    from workbench.bench.studies.experts import imbalance_study
    from workbench.bench.studies.w4a16 import product_study
    from workbench.checkpoints.files import read_weights
    from workbench.checkpoints.shipped import shipped_pair_dirs

    return [product_study(), lossless_study(read_weights(shipped_pair_dirs()[0])), imbalance_study()]


def gates_study(reports: Sequence[KernelReport]) -> Study:
    """Return one row for each operator and candidate."""
    rows = tuple(
        (
            report.kernel,
            report.level,
            report.candidate,
            report.build.status,
            report.correctness.status,
            report.performance.status,
            report.correctness.message or report.build.message,
        )
        for report in reports
    )
    columns = ("operator", "level", "candidate", "builds", "correct", "measured", "why")
    return Study(
        name="gates", title="Gates", tables=(Table("Three gates, each opening the next", columns, rows),)
    )


def cases_study(reports: Sequence[KernelReport]) -> Study:
    """Return the refused cases, and how much of its allowance each operator used."""
    refused: list[tuple[Cell, ...]] = [
        (
            report.kernel,
            result.case,
            result.values,
            result.judged.refusals[0].rule,
            result.judged.refusals[0].message,
            _public(result.published),
        )
        for report in reports
        for result in report.results
        if not result.passed
    ]
    used = tuple(max((one.judged.used for one in report.results), default=0.0) for report in reports)
    plot = Plot(
        "bar",
        "Largest share of the allowance that a case used",
        "operator",
        "share",
        (Series("ours", tuple(report.kernel for report in reports), used),),
        level=1.0,
    )
    columns = ("operator", "case", "values", "rule", "what", "published rule")
    tables = (Table("Refused cases", columns, tuple(refused)),) if refused else ()
    text = () if refused else ("No case was refused.",)
    return Study(name="cases", title="Cases", text=text, tables=tables, plots=(plot,))


def _public(published: Any) -> str:
    if published is None:
        return "no verdict"
    return published.raises or ("passes" if published.passed else "refuses")


def speed_studies(reports: Sequence[KernelReport]) -> list[Study]:
    """Return times and shares of the machine's limits, where something was measured."""
    timed = [report for report in reports if "bandwidth_share" in report.timing]
    if not timed:
        return []
    rows = tuple(
        (
            report.kernel,
            1e6 * report.timing["seconds"],
            1e6 * report.timing["reference_seconds"],
            report.timing["speedup"],
            report.timing["bytes_read"],
            report.timing["bytes_written"],
            report.timing["operations"],
            report.timing["bandwidth_share"],
            report.timing["arithmetic_share"],
        )
        for report in timed
    )
    columns = (
        "operator",
        "time us",
        "plain torch us",
        "speed-up",
        "read bytes",
        "written bytes",
        "operations",
        "share of bandwidth",
        "share of arithmetic",
    )
    limits = timed[0].timing
    note = (
        f"Measured limits: {limits['bandwidth'] / 1e9:.1f} GB/s copied, "
        f"{limits['arithmetic'] / 1e9:.1f} Gop/s in a matrix product. "
        "Bytes and operations are the least that a call needs."
    )
    roof = Plot(
        "scatter",
        "Roofline",
        "operations per byte",
        "share of the limit that binds",
        (
            Series(
                "operators",
                tuple(one.timing["operations"] / max(1, _bytes(one)) for one in timed),
                tuple(max(one.timing["bandwidth_share"], one.timing["arithmetic_share"]) for one in timed),
                tuple(one.kernel for one in timed),
            ),
        ),
        level=1.0,
    )
    return [
        Study(
            name="speed",
            title="Speed",
            text=("Median of pairs, plain torch and candidate in turn in one process.",),
            tables=(Table("Time and traffic of one call", columns, rows, note),),
            plots=(roof,),
        )
    ]


def _bytes(report: KernelReport) -> int:
    return int(report.timing["bytes_read"] + report.timing["bytes_written"])


def scores_study(reports: Sequence[KernelReport]) -> Study:
    """Return scores by our judge and by the published rules, and how many operators pass each gate."""
    rows: list[tuple[Cell, ...]] = []
    passed: list[tuple[Cell, ...]] = []
    for candidate in dict.fromkeys(report.candidate for report in reports):
        own = [report for report in reports if report.candidate == candidate]
        for name, published in (("ours", False), ("published", True)):
            score = asdict(scores(own, published=published))
            levels = [score["by_level"].get(level) for level in (1, 2, 3)]
            rows.append((candidate, name, *levels, score["final"]))
        passed += [_pass_rates(candidate, level, own) for level in (1, 2, 3)]
    columns = ("candidate", "judge", "level 1", "level 2", "level 3", "final")
    note = "Share of cases passed; levels weigh .2, .3 and .5, where a level is missing the others share it."
    rates = Table(
        "Pass rates",
        ("candidate", "level", "operators", "build", "correct by ours", "correct by the published rules"),
        tuple(passed),
        "An operator is correct where all of its cases are.",
    )
    return Study(
        name="scores", title="Scores", tables=(Table("Scores of 100", columns, tuple(rows), note), rates)
    )


def _pass_rates(candidate: str, level: int, reports: Sequence[KernelReport]) -> tuple[Cell, ...]:
    own = [report for report in reports if report.level == level]
    judged = [report for report in own if report.results]
    return (
        candidate,
        level,
        len(own),
        sum(report.build.status == "passed" for report in own),
        sum(report.correctness.status == "passed" for report in own),
        sum(
            all(one.published is not None and one.published.passed for one in report.results)
            for report in judged
        ),
    )
