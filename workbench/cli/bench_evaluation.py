"""`specwb bench`: measures turn by turn under a progress bar, then the studies, then writes what came out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from tracing.distances import MAX_DIGITS
from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from workbench.bench.choices import Choices, make_choices
from workbench.bench.headline import headline
from workbench.bench.measure import PairedBench, cases_of, run_turns
from workbench.bench.outputs import results_json, turns_csv
from workbench.bench.session import BenchRequest, BenchSession, about, identity, open_session
from workbench.bench.store import ResultsFolder
from workbench.bench.studies import STUDIES
from workbench.bench.tables import Study, text_lines
from workbench.cli.decode_options import eager_operators
from workbench.cli.fresh_folder import fresh_folder
from workbench.cli.output import hides_progress, say
from workbench.lockstep.choice.decoders import loaded_set_aside
from workbench.lockstep.choice.kernels import OPERATORS
from workbench.view.safe_text import safe_json


def evaluate(
    out: Path | None, backend: Mapping[str, Any], output_format: str, options: Mapping[str, Any]
) -> int:
    """Run the evaluation; returns the exit code."""
    tree, studies = parse_tree(options["tree"]), parse_studies(options["studies"])
    eager = _eager(options["eager"])
    request = _request(options)
    session = open_session(request)
    asked = {"tree": options["tree"], "eager": options["eager"]}
    folder = ResultsFolder(
        out or fresh_folder(prefix="bench-"), identity(request, session, asked), about(backend)
    )
    with loaded_set_aside():
        choices = make_choices(session, folder, tree, eager, _say)
        _measure(session, folder, choices, request.repetitions)
        _study(session, folder, choices, studies, options["study_turns"])
    kept = [folder.kept(name) for name in ("tree", "kernels", *STUDIES)]
    shown = [headline(folder.results, choices.as_text()), *(study for study in kept if study)]
    return _finish(folder, shown, output_format, session.warnings)


def _study(
    session: BenchSession, folder: ResultsFolder, choices: Choices, names: Sequence[str], num_cases: int
) -> None:
    """Make every study that was asked for and that the folder does not hold yet."""
    wanted = [name for name in names if folder.kept(name) is None]
    if not wanted:
        return
    from workbench.bench.studies.lab import Lab

    answers = {
        (result.case.prompt_id, result.case.turn): result.baseline.token_ids
        for result in folder.results
        if result.repetition == 0
    }
    lab = Lab(
        session=session,
        choices=choices,
        engine=session.engine(choices.settings, choices.eager),
        all_cases=cases_of(session.plans, lambda prompt_id, turn: answers.get((prompt_id, turn))),
        num_cases=num_cases,
        results=folder.results,
    )
    for name in wanted:
        _say(STUDIES[name])
        study = import_module(f"workbench.bench.studies.{name.replace('-', '_')}")
        folder.keep(study.measure(lab))


def _measure(session: BenchSession, folder: ResultsFolder, choices: Choices, repetitions: int) -> None:
    """Measure every turn that the folder does not hold yet."""
    engine = session.engine(choices.settings, choices.eager)
    bench = PairedBench(
        session.greedy(engine), session.speculative(engine), session.compare, session.max_new_tokens
    )
    left = len(session.plans) * repetitions - len(folder.results)
    if left > 0:
        bench.warm_up([session.plans[0].context([])] * 2)
    with click.progressbar(
        length=len(session.plans) * repetitions,
        label="turns",
        file=sys.stderr,
        show_eta=True,
        hidden=hides_progress(),
    ) as bar:
        bar.update(len(folder.results))
        for result in run_turns(bench, session.plans, repetitions, done=tuple(folder.results)):
            folder.add(result)
            bar.update(1)


def _finish(folder: ResultsFolder, studies: list[Study], output_format: str, warnings: Sequence[str]) -> int:
    """Write results and print them; returns the exit code: 1 texts that differ, 4 no step to compare."""
    results = results_json(folder.results, studies, folder.manifest) | {"load_warnings": list(warnings)}
    folder.write("results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    folder.write("turns.csv", turns_csv(folder.results))
    pictures = _write_page(folder, studies)
    if output_format == "json":
        click.echo(safe_json(results))
    else:
        say("\n".join(text_lines(studies)))
        for warning in warnings:
            say(f"warning     {warning}")
        say(f"results     {folder.folder}")
        say(f"pictures    {pictures}")
    if any(study.num_refused for study in studies):
        return 1
    decoded = (result for result in folder.results if len(result.speculative.token_ids) > 1)
    return 0 if any(result.counts for result in decoded) else 4  # a turn of one token has no step


def _write_page(folder: ResultsFolder, studies: Sequence[Study]) -> str:
    """Write the page where the plotting library is there; returns where it is, or why it is not."""
    try:
        from workbench.bench.report.page import page
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "plotly":
            raise
        return "none: plotly is not installed; pip install 'specwb[bench]' and run again"
    folder.write("report.html", page(studies, folder.manifest))
    return str(folder.folder / "report.html")


def _request(options: Mapping[str, Any]) -> BenchRequest:
    same = (
        *("suite", "repetitions", "max_new_tokens", "model", "draft", "proposer"),
        *("device", "dtype", "chat", "trust_remote_code", "weights"),
    )
    given: dict[str, Any] = {name: options[name] for name in same}
    given |= {name: Path(options[name]) for name in ("humaneval", "mt_bench") if options[name]}
    return BenchRequest(num_turns=options["turns"], **given)


def _eager(text: str) -> frozenset[str] | None:
    """Read `--eager`; None is auto."""
    if text == "auto":
        return None
    return frozenset() if text == "none" else eager_operators(text) & frozenset(OPERATORS)


def _say(sentence: str) -> None:
    say(f"measuring: {sentence} ...", err=True)


def parse_tree(text: str) -> DecodeSettings | None:
    """Read `--tree`; None is auto.

    Raises:
        UsageError: Neither.
    """
    if text == "auto":
        return None
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < MAX_DIGITS for part in parts):
        raise UsageError(f"--tree should be auto or NODES/DEPTH/TOP_K, e.g. 60/7/10, got {text!r}")
    nodes, depth, top_k = map(int, parts)
    return DecodeSettings(tree_nodes=nodes, depth=depth, top_k=top_k)


def parse_studies(words: tuple[str, ...]) -> tuple[str, ...]:
    """Read `--study`, in the order of `STUDIES`.

    Raises:
        UsageError: No such study.
    """
    names = {name.strip() for word in words for name in word.split(",") if name.strip()}
    if "all" in names:
        return tuple(STUDIES)
    unknown = sorted(names - STUDIES.keys())
    if unknown:
        raise UsageError(f"--study should name {', '.join(STUDIES)} or all, got {unknown[0]!r}")
    return tuple(name for name in STUDIES if name in names)
