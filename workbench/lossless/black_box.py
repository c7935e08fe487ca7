"""An engine that can only be called, or whose samples were kept: tested as they come, stopped on guilt."""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final, Literal

from tracing.errors import UsageError, sentence_of
from workbench.lossless.evidence import Alarm, LawEvidence, PromptEvidence, draws_for_known, smallest_visible
from workbench.lossless.forks import Budget
from workbench.lossless.law import EmissionLaw, completed, divergence, target_law
from workbench.lossless.mistakes import MISTAKES
from workbench.lossless.problem import Problem, TokenPath
from workbench.lossless.rules import law_of_rule
from workbench.lossless.two_sample import TwoSampleEvidence
from workbench.lossless.verifier import load_function

Sample = tuple[str, TokenPath, str]
"""Prompt, tokens, group."""
SamplesVerdict = Literal["not lossless", "nothing seen", "inconclusive"]
BLOCK: Final = 500
BELOW_SIGHT: Final = 1e5
"""Draws beyond which a mistake counts as below what can be seen."""
MISTAKE_RUNS: Final = 20_000
MAX_LINE: Final = 100_000


@dataclass(frozen=True)
class SamplesReport:
    """What samples say.

    Attributes:
        verdict: The verdict.
        draws: Draws (or pairs) that were looked at.
        log10_value: Decimal logarithm of the evidence; its inverse bounds the chance of a false alarm.
        alarm: Where the level was reached.
        smallest: Smallest total variation of a prompt that would have been seen, whatever the mistake.
        unseen: Known mistakes that so many draws would not have shown, with the draws that they need.
        below_sight: Known mistakes that need more draws than anybody takes.
        parameters: What it was done with.
    """

    verdict: SamplesVerdict
    draws: int
    log10_value: float
    alarm: Alarm | None
    smallest: float
    unseen: tuple[tuple[str, float], ...] = ()
    below_sight: tuple[tuple[str, float], ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


def samples_of(source: str, lengths: Mapping[str, int], max_draws: int) -> Iterator[Sample]:
    """Yield samples of a .jsonl file, or of `package.module:function`, called with each prompt in turn.

    Args:
        source: The file or the function.
        lengths: Prompt to the number of tokens that are looked at.
        max_draws: Samples at most.

    Raises:
        UsageError: A line or result is no sample; the sentence names it.
    """
    if source.endswith(".jsonl"):
        return islice(_read(Path(source), lengths), max_draws)
    return islice(_called(source, lengths), max_draws)


def _read(file: Path, lengths: Mapping[str, int]) -> Iterator[Sample]:
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE), ""), 1):
                if line.strip():
                    yield _sample(line, f"{file} line {number}", lengths)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None


def _sample(line: str, where: str, lengths: Mapping[str, int]) -> Sample:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f'{where} is not JSON; a sample is {{"prompt": "name", "tokens": [1, 2]}}') from None
    if not isinstance(data, dict) or not isinstance(data.get("tokens"), list):
        raise UsageError(
            f'{where}: a sample is {{"prompt": "name", "tokens": [1, 2]}}, with a group if need be'
        )
    return _cut(str(data.get("prompt", "")), data["tokens"], where, lengths, str(data.get("group", "")))


def _cut(name: str, tokens: Any, where: str, lengths: Mapping[str, int], group: str) -> Sample:
    if name not in lengths:
        raise UsageError(f"{where}: prompt {name!r} has no laws; known are {', '.join(lengths)}")
    try:
        found = tuple(int(token) for token in tokens)
    except (TypeError, ValueError):
        raise UsageError(f"{where}: tokens are a list of ids, not {type(tokens).__name__}") from None
    if len(found) < lengths[name]:
        raise UsageError(
            f"{where}: {len(found)} tokens, the test looks at {lengths[name]} (depth + 1) of every sample"
        )
    return name, found[: lengths[name]], group


def _called(source: str, lengths: Mapping[str, int]) -> Iterator[Sample]:
    engine = load_function(source)
    for name in cycle(lengths):
        with redirect_stdout(sys.stderr):
            try:
                result = engine(name)
            except (Exception, SystemExit) as error:
                raise UsageError(f"{source} raised {type(error).__name__}: {sentence_of(error)}") from error
        yield _cut(name, result.tolist() if hasattr(result, "tolist") else result, source, lengths, "")


def judged_samples(
    problems: Sequence[Problem], samples: Iterable[Sample], *, alpha: float, least: float, is_dependent: bool
) -> SamplesReport:
    """Test samples of an engine against the target laws, a prompt a problem.

    Args:
        problems: Laws; known mistakes are bet on where they say how drafts come about.
        samples: What the engine emitted.
        alpha: Level: chance of an alarm, ever, if the engine is lossless.
        least: Greatest total variation that may go unseen before it is `inconclusive`.
        is_dependent: Whether groups of samples depend on one another, so that their evidence is averaged.
    """
    targets = {problem.name: target_law(problem) for problem in problems}
    known = {problem.name: _known_laws(problem, targets[problem.name]) for problem in problems}
    names = sorted({name for laws in known.values() for name in laws})
    prompts = {name: PromptEvidence(targets[name], known[name], names) for name in targets}
    evidence = LawEvidence(prompts, names, alpha)
    drawn: dict[str, int] = defaultdict(int)
    iterator = iter(samples)
    while block := list(islice(iterator, BLOCK)):
        evidence.extend(block if is_dependent else [(name, path, "") for name, path, _ in block])
        for name, *_ in block:
            drawn[name] += 1
        if evidence.alarm:
            break
    smallest = max(smallest_visible(len(prompts[name].cells), drawn[name], alpha) for name in targets)
    needed = _needed(known, targets, names, alpha)
    return SamplesReport(
        _verdict(evidence.alarm, smallest, least),
        evidence.alarm.draw if evidence.alarm else evidence.num_draws,
        evidence.log_value / math.log(10),
        evidence.alarm,
        smallest,
        tuple((name, draws) for name, draws in needed if evidence.num_draws < draws <= BELOW_SIGHT),
        tuple((name, draws) for name, draws in needed if draws > BELOW_SIGHT),
        {"alpha": alpha, "prompts": len(targets), "mistakes": len(names)},
    )


def judged_pairs(
    samples: Iterable[Sample], baseline: Iterable[Sample], *, alpha: float, least: float, is_dependent: bool
) -> SamplesReport:
    """Test samples with speculation against samples of the same prompts without, in pairs."""
    evidence = TwoSampleEvidence(alpha)
    drawn: dict[str, int] = defaultdict(int)
    pairs = _paired(samples, baseline)
    while block := list(islice(pairs, BLOCK)):
        evidence.extend(
            [(name, one, other, group if is_dependent else "") for name, one, other, group in block]
        )
        for name, *_ in block:
            drawn[name] += 1
        if evidence.alarm:
            break
    smallest = smallest_visible(2 * evidence.num_cells, min(drawn.values(), default=0) // 2, alpha)
    draws = evidence.num_draws
    value = evidence.log_value / math.log(10)
    verdict = _verdict(evidence.alarm, smallest, least)
    return SamplesReport(
        verdict, draws, value, evidence.alarm, smallest, parameters={"alpha": alpha, "pairs": True}
    )


def _paired(
    samples: Iterable[Sample], baseline: Iterable[Sample]
) -> Iterator[tuple[str, TokenPath, TokenPath, str]]:
    """Pair samples of equal prompts, in their order."""
    waiting: dict[str, list[TokenPath]] = defaultdict(list)
    others = iter(baseline)
    for name, path, group in samples:
        while not waiting[name]:
            other = next(others, None)
            if other is None:
                return
            waiting[other[0]].append(other[1])
        yield name, path, waiting[name].pop(0), group


def _verdict(alarm: Alarm | None, smallest: float, least: float) -> SamplesVerdict:
    if alarm:
        return "not lossless"
    return "nothing seen" if smallest <= least else "inconclusive"


def _known_laws(problem: Problem, target: EmissionLaw) -> dict[str, EmissionLaw]:
    """Laws that known mistakes have on a problem, those that are none there left out."""
    laws: dict[str, EmissionLaw] = {}
    if not problem.tree and not problem.is_drawn:
        return laws
    for name, rule in MISTAKES.items():
        if problem.drafts in rule.drafts and (problem.is_chain or not rule.is_for_chains):
            found = law_of_rule(rule.function, problem, Budget(MISTAKE_RUNS, 20.0))
            law = completed(found.law, problem)
            if found.error < 0.05 and divergence(law, target) > 1e-12:
                laws[name] = law
    return laws


def _needed(
    known: Mapping[str, Mapping[str, EmissionLaw]],
    targets: Mapping[str, EmissionLaw],
    names: Sequence[str],
    alpha: float,
) -> list[tuple[str, float]]:
    """Draws that each known mistake needs, all prompts drawn from equally often."""
    found = []
    for name in names:
        rates = [
            1 / draws_for_known(laws[name], targets[prompt], len(names), alpha)
            for prompt, laws in known.items()
            if name in laws
        ]
        found.append((name, len(targets) / sum(rates) if sum(rates) else math.inf))
    return found
