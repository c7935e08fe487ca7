"""`specwb lossless`: the exact law of a verifier against the target law, or a sequential test on samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

import click

from tracing.errors import UsageError
from workbench.cli.common_options import choice_option, number_option
from workbench.cli.decode_options import format_option
from workbench.cli.lossless_samples import EXIT_OF as SAMPLES_EXIT_OF
from workbench.cli.lossless_samples import report_as_json, report_lines, tested_samples
from workbench.cli.lossless_text import as_json, lines_of, listing
from workbench.cli.output import say, show
from workbench.lossless.judge import JudgeSettings, ProblemVerdict, judged, overall, rule_verdict
from workbench.lossless.mistakes import MISTAKES
from workbench.lossless.problem import DRAFTS, Drafts, Problem, read_problems
from workbench.lossless.rules import RULES, AcceptanceRule
from workbench.lossless.standard import standard_problems
from workbench.lossless.verifier import Numbers, Verifier, load_verifier

EXIT_OF: Final = {"not lossless": 1, "inconclusive": 4, "lossless within E": 0, "lossless": 0}
SHRINK_RUNS: Final = 5_000
SHRINK_SAMPLES: Final = 2_000


@click.command(name="lossless")
@click.argument("verifier", required=False)
@click.option("--rule", metavar="NAME", help="Judge a rule of ours, or a known mistake, instead.")
@click.option("--list", "is_listing", is_flag=True, help="List rules and known mistakes.")
@click.option(
    "--problem",
    "problem_file",
    metavar="FILE",
    help="JSON of target law, draft law and tree; default small ones.",
)
@click.option(
    "--drafts",
    type=click.Choice(DRAFTS),
    help="How drafts come about; default sampled where the verifier takes draft_probs, else fixed.",
)
@number_option("--width", None, "Children of a node, for drafts that are drawn.", metavar="N")
@choice_option(
    "--numbers",
    values=["auto", *get_args(Numbers)],
    text="Form of the probabilities; auto tries fractions first.",
)
@choice_option("--arrays", values=["auto", "numpy", "torch"], text="What arrays the verifier gets.")
@click.option(
    "--batched",
    "is_batched",
    is_flag=True,
    help="Everything has a leading axis; two rows are judged together.",
)
@number_option("--runs", 200_000, "Calls of the verifier for one problem.")
@number_option("--seconds", 120, "Seconds for one problem.")
@number_option("--samples", 20_000, "Calls where a law has to be sampled.", least=100)
@click.option(
    "--within",
    default=5e-3,
    show_default=True,
    help="Greatest E at which `lossless within E` says something.",
)
@click.option("--alpha", default=1e-3, show_default=True, help="Level of the statistical test.")
@click.option(
    "--greedy", "is_greedy", is_flag=True, help="Target laws as at temperature 0: certain of one token."
)
@click.option("--black-box", metavar="SAMPLES", help="A .jsonl of samples, or module:function to draw from.")
@click.option("--baseline", metavar="SAMPLES", help="The same without speculation, in place of target laws.")
@number_option("--max-draws", 100_000, "Samples at most.")
@click.option("--dependent", "is_dependent", is_flag=True, help="Groups of samples depend on one another.")
@click.option("--least", default=0.05, show_default=True, help="Total variation that may go unseen.")
@click.option(
    "--shrink/--no-shrink",
    "is_shrinking",
    default=True,
    help="Look for the smallest tree that shows a fault.",
)
@format_option
def command(
    verifier: str | None, rule: str | None, *, is_listing: bool, output_format: str, **options: Any
) -> int:
    """Is this verifier lossless? Exactly, not statistically.

    VERIFIER is package.module:function. By the names of its parameters it gets tokens, parents,
    draft_token_ids, target_probs, draft_probs, vocab_size, and chance as rng, random, generator, uniforms,
    final_uniform or exponentials; it returns the emitted token ids. docs/lossless.md has examples.

    Exit codes: 0 lossless (exactly, or within a stated E), 1 not lossless, 2 bad input, 4 inconclusive
    or not repeatable.
    """
    if is_listing:
        say("\n".join(listing()))
        return 0
    if options["black_box"]:
        return _black_box(verifier or rule, output_format, options)
    if (verifier is None) == (rule is None):
        raise UsageError("name one verifier, package.module:function, or one --rule; --list shows the rules")
    settings = _settings(options)
    subject = _rule(rule) if rule else _verifier(verifier or "", options)
    drafts = options["drafts"] or _usual_drafts(subject)
    problems = _problems(subject, drafts, options)
    if options["is_greedy"]:
        problems = tuple(problem.at_temperature_0() for problem in problems)
    found = [_judged(subject, problem, settings) for problem in problems]
    smallest = _smallest(subject, drafts, found, settings, is_shrinking=options["is_shrinking"])
    told = (subject.name, found, smallest)
    show(output_format, lambda: as_json(*told), lambda: lines_of(*told))
    return EXIT_OF[overall(found)]


def _black_box(other: str | None, output_format: str, options: dict[str, Any]) -> int:
    if other is not None:
        raise UsageError(f"--black-box judges samples; {other} is judged without it")
    report = tested_samples(options)
    told = (options["black_box"], report)
    show(output_format, lambda: report_as_json(*told), lambda: report_lines(*told))
    return SAMPLES_EXIT_OF[report.verdict]


def _settings(options: dict[str, Any]) -> JudgeSettings:
    if not 0 < options["alpha"] < 1 or not 0 <= options["within"] < 1:
        raise UsageError("--alpha lies between 0 and 1, --within from 0 to 1")
    return JudgeSettings(
        numbers=None if options["numbers"] == "auto" else options["numbers"],
        runs=options["runs"],
        seconds=float(options["seconds"]),
        samples=options["samples"],
        within=options["within"],
        alpha=options["alpha"],
    )


def _rule(name: str) -> AcceptanceRule:
    every = {**RULES, **MISTAKES}
    if name not in every:
        raise UsageError(f"no rule {name!r}; known are {', '.join(every)}")
    return every[name]


def _verifier(name: str, options: dict[str, Any]) -> Verifier:
    return load_verifier(name, arrays=options["arrays"], is_batched=options["is_batched"])


def _usual_drafts(subject: AcceptanceRule | Verifier) -> Drafts:
    if isinstance(subject, AcceptanceRule):
        return subject.drafts[0]
    return "sampled" if subject.takes_draft_law else "fixed"


def _problems(
    subject: AcceptanceRule | Verifier, drafts: Drafts, options: dict[str, Any]
) -> tuple[Problem, ...]:
    if isinstance(subject, AcceptanceRule) and drafts not in subject.drafts:
        raise UsageError(f"{subject.name} is a rule for {', '.join(subject.drafts)} drafts, not {drafts}")
    if options["problem_file"]:
        given = read_problems(Path(options["problem_file"]), options["drafts"], options["width"])
        if _is_for_chains(subject) and not all(problem.is_chain for problem in given):
            raise UsageError(
                f"{subject.name} takes chains, a problem of {options['problem_file']} has siblings"
            )
        return given
    chains = standard_problems(drafts, chains=True)
    return (
        chains
        if _is_for_chains(subject)
        else (*chains, *standard_problems(drafts, chains=False, width=options["width"]))
    )


def _is_for_chains(subject: AcceptanceRule | Verifier) -> bool:
    return subject.is_for_chains if isinstance(subject, AcceptanceRule) else subject.takes_chains


def _judged(subject: AcceptanceRule | Verifier, problem: Problem, settings: JudgeSettings) -> ProblemVerdict:
    return (
        rule_verdict(subject, problem, settings)
        if isinstance(subject, AcceptanceRule)
        else judged(subject, problem, settings)
    )


def _smallest(
    subject: AcceptanceRule | Verifier,
    drafts: Drafts,
    found: list[ProblemVerdict],
    settings: JudgeSettings,
    *,
    is_shrinking: bool,
) -> ProblemVerdict | None:
    """Return the verdict on the smallest problem that shows what was found, None where nothing was."""
    guilty = [each for each in found if each.verdict == "not lossless"]
    if not guilty or not is_shrinking:
        return min(guilty, key=_size, default=None)
    from workbench.lossless.smallest import smallest_problem

    quick = replace(settings, runs=SHRINK_RUNS, seconds=5.0, samples=SHRINK_SAMPLES, is_explaining=False)

    only_at_zero = all(each.zero_mass > each.error for each in guilty)

    def shows(problem: Problem) -> bool:
        try:
            verdict = _judged(subject, problem, quick)
        except (UsageError, ValueError):
            return False
        return verdict.verdict == "not lossless" and (verdict.zero_mass > verdict.error) == only_at_zero

    try:
        problem = smallest_problem(shows, drafts, chains=_is_for_chains(subject), seconds=30.0)
    except ModuleNotFoundError:
        problem = None
    return _judged(subject, problem, settings) if problem else min(guilty, key=_size)


def _size(found: ProblemVerdict) -> tuple[int, int]:
    return found.problem.depth, found.problem.vocab
