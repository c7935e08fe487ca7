"""What `specwb lossless` says, as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from workbench.lossless.judge import ProblemVerdict, overall
from workbench.lossless.law import Number
from workbench.lossless.mistakes import MISTAKES
from workbench.lossless.problem import Problem, TokenPath
from workbench.lossless.rules import RULES

HOW = {
    "exact": "every decision followed",
    "integrated": "draws that are combined, integrated on boxes",
    "opened": "draws that cannot be followed, opened by bisection",
    "sampled": "draws that cannot be followed, sampled",
}
MAX_DENOMINATOR = 10**9


def listing() -> Iterator[str]:
    """Rules and known mistakes, one a line."""
    for heading, rules in (("Rules that are proven lossless", RULES), ("Known mistakes", MISTAKES)):
        yield f"{heading}:"
        for name, rule in rules.items():
            source = f" [{rule.source}]" if rule.source else ""
            yield f"  {name:<31} {rule.summary} ({', '.join(rule.drafts)}){source}"


def path_text(path: TokenPath) -> str:
    """A path as people write it."""
    return ",".join(map(str, path)) if path else "the root"


def number_text(number: Number) -> str:
    """A fraction while it is short, else six digits."""
    if isinstance(number, Fraction) and number.denominator < MAX_DENOMINATOR:
        return f"{number} ({float(number):.6g})" if number.denominator > 1 else str(number)
    return f"{float(number):.6g}"


def lines_of(name: str, found: Sequence[ProblemVerdict], smallest: ProblemVerdict | None) -> Iterator[str]:
    """What was found, worst last; then the smallest problem that shows it, whole."""
    width = max(len(each.problem.name) for each in found)
    for each in found:
        yield f"{each.problem.name:<{width}}  {each.problem.drafts:<8}  {_sentence(each)}"
    if smallest:
        yield ""
        yield f"Smallest problem that shows it: {_sentence(smallest)}"
        yield from _details(smallest)
    yield ""
    common = (
        set.intersection(*(set(each.same_as) for each in found if each.verdict == "not lossless"))
        if smallest
        else set()
    )
    worst = overall(found)
    if worst == "lossless within E":
        worst_error = max(each.error for each in found)
        yield f"{name}: lossless within {worst_error:.3g} on {len(found)} problems"
    else:
        yield f"{name}: {worst} on {sum(each.verdict == worst for each in found)} of {len(found)} problems"
    if smallest:
        yield "Same law as the known mistake: " + (
            "; ".join(f"{mistake} ({MISTAKES[mistake].summary})" for mistake in sorted(common)) or "none"
        )


def _sentence(found: ProblemVerdict) -> str:
    parts = [found.verdict if found.verdict != "lossless within E" else f"lossless within {found.error:.3g}"]
    parts.append(f"total variation {number_text(found.total_variation)}")
    if found.verdict in ("not lossless", "inconclusive"):
        parts.append(f"E {found.error:.3g}")
    parts.append(f"{HOW[found.trial.how]}, {found.trial.runs} runs, {found.trial.numbers}")
    parts += [f"probability {weight:.3g}: {what}" for what, weight in found.failures]
    if found.at_zero:
        paths = " or ".join(path_text(path) for path in found.at_zero[:3])
        parts.append(
            f"emits {paths}, of target probability 0, when a draw is exactly 0 ({found.zero_mass:.2g})"
        )
    return "; ".join(parts)


def _details(found: ProblemVerdict) -> Iterator[str]:
    worst = found.worst
    if worst:
        yield (
            f"  most off after {path_text(worst.path)}: token {worst.token} has {worst.given:.6g} instead of "
            f"{worst.expected:.6g} (total variation there {worst.total_variation:.6g})"
        )
    if found.draws is not None:
        yield f"  a sequential test on samples would have needed about {found.draws:.0f} draws"
    yield from _problem_lines(found.problem)


def _problem_lines(problem: Problem) -> Iterator[str]:
    yield f"  vocab {problem.vocab}, depth {problem.depth}, {problem.drafts} drafts"
    if problem.tree and not problem.is_drawn:
        tree = "; ".join(f"{path_text(path)}: {list(children)}" for path, children in problem.tree.items())
        yield f"  tree: {tree}"
    elif problem.width > 1:
        yield f"  {problem.width} children of each node"
    for kind, laws in (("target", problem.target), ("draft", problem.draft)):
        if kind == "draft" and not problem.gives_draft_law:
            continue
        for path, law in laws.items():
            yield f"  {kind} law after {path_text(path)}: {' '.join(map(str, law))}"


def as_json(name: str, found: Sequence[ProblemVerdict], smallest: ProblemVerdict | None) -> dict[str, Any]:
    """What was found, as data; fractions as strings."""
    return {
        "verifier": name,
        "verdict": overall(found),
        "total_variation": max(float(each.total_variation) for each in found),
        "error": max(each.error for each in found),
        "problems": [_one_as_json(each) for each in found],
        "smallest": _one_as_json(smallest) | {"problem": problem_as_json(smallest.problem)}
        if smallest
        else None,
    }


def _one_as_json(found: ProblemVerdict) -> dict[str, Any]:
    worst = found.worst
    return {
        "problem": found.problem.name,
        "drafts": found.problem.drafts,
        "verdict": found.verdict,
        "total_variation": float(found.total_variation),
        "total_variation_exact": str(found.total_variation)
        if isinstance(found.total_variation, Fraction)
        else None,
        "error": found.error,
        "how": found.trial.how,
        "numbers": found.trial.numbers,
        "runs": found.trial.runs,
        "worst_prefix": list(worst.path) if worst else None,
        "worst_token": worst.token if worst else None,
        "draws_needed": found.draws,
        "failures": [{"what": what, "probability": weight} for what, weight in found.failures],
        "impossible_at_zero": [list(path) for path in found.at_zero],
        "impossible_at_zero_probability": found.zero_mass,
        "same_as": list(found.same_as),
    }


def problem_as_json(problem: Problem) -> dict[str, Any]:
    """A problem in the form that `--problem` reads."""

    def laws(table: Mapping[TokenPath, Any]) -> dict[str, list[str]]:
        return {",".join(map(str, path)): [str(each) for each in law] for path, law in table.items()}

    return {
        "name": problem.name,
        "vocab": problem.vocab,
        "depth": problem.depth,
        "drafts": problem.drafts,
        "width": problem.width,
        "target": laws(problem.target),
        "draft": laws(problem.draft),
        "tree": {",".join(map(str, path)): list(children) for path, children in problem.tree.items()},
    }
