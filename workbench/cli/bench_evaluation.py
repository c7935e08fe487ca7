"""`specwb bench`: measures turn by turn under a progress bar, then the studies, then writes what came out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import torch

from workbench.bench.choices import Asked, Choices, make_choices, study_name
from workbench.bench.headline import headline
from workbench.bench.limits import LIMITS, measure_limits
from workbench.bench.measure import InterleavedBench, cases_of, run_turns
from workbench.bench.outputs import results_json, turns_csv
from workbench.bench.peers.open import STATED, Peer, PeerPair, directories, opened_peers, parse_peers
from workbench.bench.peers.process import PeerProcess
from workbench.bench.peers.study import peers_study
from workbench.bench.peers.texts import write_texts
from workbench.bench.proposers import AUTO, proposers_study
from workbench.bench.session import BenchRequest, BenchSession, about, identity, open_sessions
from workbench.bench.store import ResultsFolder
from workbench.bench.studies import STUDIES, subject
from workbench.bench.summary import by_proposer
from workbench.bench.tables import Study, text_lines
from workbench.bench.turn import BenchCase
from workbench.cli.bench_words import (
    parse_auto,
    parse_drafts,
    parse_eager,
    parse_proposers,
    parse_studies,
    parse_tree,
)
from workbench.cli.fresh_folder import fresh_folder
from workbench.cli.output import hides_progress, say
from workbench.lockstep.choice.decoders import Decoder, loaded_set_aside
from workbench.lockstep.choice.kernels import eager_name
from workbench.lockstep.session.contenders import SharedWeights
from workbench.view.safe_text import safe_json


@dataclass(frozen=True, slots=True)
class MeasuredSides:
    """All that decodes.

    Attributes:
        sessions, choices: By proposer.
        baseline: Teacher-only decoding.
        proposers: Speculative decoding, by proposer.
    """

    sessions: Mapping[str, BenchSession]
    choices: Mapping[str, Choices]
    baseline: Decoder
    proposers: Mapping[str, Decoder]

    @property
    def first(self) -> BenchSession:
        """The first session; prompts and plans are the same in all."""
        return next(iter(self.sessions.values()))

    @property
    def greedy_name(self) -> str:
        """Operators of teacher-only decoding in words."""
        return eager_name(next(iter(self.choices.values())).greedy_eager)


def evaluate(
    out: Path | None, backend: Mapping[str, Any], output_format: str, options: Mapping[str, Any]
) -> int:
    """Run the evaluation; returns the exit code."""
    proposers = parse_proposers(options["proposers"])
    tree, eager = parse_tree(options["tree"]), parse_eager(options["eager"])
    studies = parse_studies(options["studies"], proposers, options["weights"])
    request = _request(options, proposers)
    sessions = open_sessions(request, SharedWeights(request.device, request.dtype))
    peers = parse_peers(options["peers"])
    asked = {name: options[name] for name in ("tree", "static_tree", "eager")}
    asked |= {"peers": {peer.name: [peer.python, *peer.modes] for peer in peers}} if peers else {}
    folder = ResultsFolder(
        out or fresh_folder(prefix="bench-"), identity(request, sessions, asked), about(backend)
    )
    with _beside(peers, sessions, request, folder) as running, loaded_set_aside():
        bench = _made(request, sessions, folder, Asked(tree, options["static_tree"], eager))
        bench = replace(bench, proposers={**bench.proposers, **running})
        _measure(bench, folder, request.repetitions)
        write_texts(
            folder.results, _cases(bench, folder), list(running), bench.first.max_new_tokens, folder.write
        )
        _study(bench, folder, studies, options["study_turns"])
    warnings = dict.fromkeys(each for session in sessions.values() for each in session.warnings)
    return _finish(folder, _shown(bench, folder), output_format, tuple(warnings))


@contextmanager
def _beside(
    peers: Sequence[Peer], sessions: Mapping[str, BenchSession], request: BenchRequest, folder: ResultsFolder
) -> Iterator[Mapping[str, PeerProcess]]:
    """Open the peers over the same pair, and keep what they state of themselves."""
    if not peers:
        yield {}
        return
    _say("opening " + ", ".join(f"{peer.name} ({', '.join(peer.modes)})" for peer in peers))
    session = next(iter(sessions.values()))
    teacher, drafter, draft_model = directories(request.model, request.drafts)
    pair = PeerPair(
        folder=folder.folder / "peers",
        teacher=teacher,
        drafter=drafter,
        draft_model=draft_model,
        eos_token_ids=sorted(session.pair.eos_token_ids),
        dtype=session.dtype,
        threads=torch.get_num_threads(),
        max_len=session.pair.teacher.max_position_embeddings,
    )
    with opened_peers(peers, pair) as running:
        folder.choose(STATED, {name: dict(each.settings) for name, each in running.items()})
        yield running


def _made(
    request: BenchRequest, sessions: Mapping[str, BenchSession], folder: ResultsFolder, asked: Asked
) -> MeasuredSides:
    """Choose settings and operators, and build all that decodes."""
    choices = {name: make_choices(session, folder, asked, _say) for name, session in sessions.items()}
    first = next(iter(sessions))
    engine = sessions[first].engine(choices[first].settings, choices[first].greedy_eager)
    baseline = sessions[first].greedy(engine)
    if STATED in folder.manifest and LIMITS not in folder.manifest:
        folder.choose(LIMITS, measure_limits(engine, choices[first].settings.tree_nodes))
    proposers = {
        name: session.speculative(session.engine(choices[name].settings, choices[name].eager))
        for name, session in sessions.items()
        if name in request.proposers
    }
    if AUTO in request.proposers:
        from workbench.bench.auto import auto_decoder

        proposers[AUTO] = auto_decoder(
            request, sessions[first], choices, folder, baseline=baseline, progress=_say
        )
    return MeasuredSides(sessions, choices, baseline, proposers)


def _measure(bench: MeasuredSides, folder: ResultsFolder, repetitions: int) -> None:
    """Measure every turn that the folder does not hold yet."""
    session = bench.first
    interleaved = InterleavedBench(bench.baseline, bench.proposers, session.compare, session.max_new_tokens)
    done = len(folder.results) // len(bench.proposers)
    if len(session.plans) * repetitions > done:
        interleaved.warm_up([session.plans[0].context([])] * 2)
    with click.progressbar(
        length=len(session.plans) * repetitions,
        label="turns",
        file=sys.stderr,
        show_eta=True,
        hidden=hides_progress(),
    ) as bar:
        bar.update(done)
        for results in run_turns(interleaved, session.plans, repetitions, done=tuple(folder.results)):
            folder.add(results)
            bar.update(1)


def _study(bench: MeasuredSides, folder: ResultsFolder, names: Sequence[str], num_cases: int) -> None:
    """Make every study that was asked for and that the folder does not hold yet."""
    wanted = [name for name in names if folder.kept(name) is None]
    if not wanted:
        return
    from workbench.bench.studies.lab import Lab

    all_cases = _cases(bench, folder)
    for name in wanted:
        _say(STUDIES[name])
        proposer = subject(name, bench.proposers)
        assert proposer is not None  # others are refused when the words are read
        subject_of = proposer if proposer in bench.sessions else next(iter(bench.sessions))
        session, choices = bench.sessions[subject_of], bench.choices[subject_of]
        lab = Lab(
            session=session,
            choices=choices,
            engine=session.engine(choices.settings, choices.eager),
            baseline=bench.baseline,
            all_cases=all_cases,
            num_cases=num_cases,
            results=folder.results,
            proposers=bench.proposers,
            contenders={each: (bench.sessions[each], bench.choices[each]) for each in bench.sessions},
            write=folder.write,
        )
        study = import_module(f"workbench.bench.studies.{name.replace('-', '_')}")
        folder.keep(study.measure(lab))


def _cases(bench: MeasuredSides, folder: ResultsFolder) -> list[BenchCase]:
    """Return the contexts of all turns, with the teacher's own answers in them."""
    answers = {
        (result.case.prompt_id, result.case.turn): result.baseline.token_ids
        for result in folder.results
        if result.repetition == 0
    }
    return cases_of(bench.first.plans, lambda prompt_id, turn: answers.get((prompt_id, turn)))


def _shown(bench: MeasuredSides, folder: ResultsFolder) -> list[Study]:
    """Return all studies, the main measurement first."""
    words = {name: choices.as_text() for name, choices in bench.choices.items()}
    groups = by_proposer(folder.results)
    shown = []
    stated = folder.manifest.get(STATED, {})
    own = [name for name in bench.proposers if name not in stated]
    if stated and folder.results:
        shown.append(peers_study(folder.results, stated, folder.manifest.get(LIMITS)))
    if len(own) > 1:
        results = [result for result in folder.results if result.proposer in own]
        shown.append(proposers_study(results, words, bench.greedy_name))
    for name in own:
        named = name if len(own) > 1 else None
        shown.append(headline(groups.get(name, []), words.get(name, {}), proposer=named))
    kept = [folder.kept(name) for name in (*map(study_name, bench.sessions), "kernels", *STUDIES)]
    if AUTO in bench.proposers:
        from workbench.bench.auto import auto_study

        kept = [auto_study(folder), *kept]
    return [*shown, *(study for study in kept if study)]


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


def _request(options: Mapping[str, Any], proposers: tuple[str, ...]) -> BenchRequest:
    same = (
        *("suite", "repetitions", "max_new_tokens", "model"),
        *("device", "dtype", "chat", "trust_remote_code", "weights"),
    )
    given: dict[str, Any] = {name: options[name] for name in same}
    given |= {name: Path(options[name]) for name in ("humaneval", "mt_bench") if options[name]}
    return BenchRequest(
        num_turns=options["turns"],
        proposers=proposers,
        drafts=parse_drafts(options["drafts"], proposers),
        **parse_auto(options, proposers),
        **given,
    )


def _say(sentence: str) -> None:
    say(f"measuring: {sentence} ...", err=True)
