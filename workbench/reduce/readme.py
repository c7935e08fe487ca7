"""The README of a reduced case: what fails, how small it got, how to see it; for an issue."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from workbench.locate.text import located_lines
from workbench.reduce.case import RunCase
from workbench.reduce.evidence import StageEvidence
from workbench.reduce.search import Observed
from workbench.reduce.sizes import Sizes
from workbench.view.safe_text import safe_text

WORDS: Final[Mapping[str, str]] = {
    "tokens": "prompt, tokens",
    "committed_len": "committed before the step, tokens",
    "steps": "steps",
    "max_new_tokens": "new tokens asked for",
    "nodes": "nodes of the tree",
    "depth": "expansions after the first level",
    "top_k": "beams, candidates of each",
    "layers": "layers of the teacher",
    "heads": "query heads",
    "kv_heads": "key heads",
    "hidden": "hidden size",
    "width": "MLP width",
    "vocab": "vocabulary",
    "bytes": "weights, bytes",
}
MOST_TOKENS: Final = 64


@dataclass(frozen=True, slots=True)
class Told:
    """What a README tells.

    Attributes:
        finding: The first of the reduced run, as JSON.
        case: The reduced case, in the numbers of its own models.
        observed: What was to stay.
        before, after: Sizes.
        evidence: Tensors of the stage.
        texts: Token id to its text.
        versions: Package to version.
        subject: What is under test, in words.
        without: What our own path lacks of it, in words.
        num_run: Cases that were run.
        whole: Whether the search came to its end.
        is_random: Whether the weights are drawn.
        is_controlled: Whether our own path was run on the same case.
    """

    finding: Mapping[str, Any]
    case: RunCase
    observed: Observed
    before: Sizes
    after: Sizes
    evidence: StageEvidence
    texts: Mapping[int, str]
    versions: Mapping[str, str]
    subject: str
    without: str
    num_run: int
    whole: bool
    is_random: bool
    is_controlled: bool


def readme_of(told: Told) -> str:
    """Return the text of the README."""
    return "\n".join(_lines(told)).rstrip() + "\n"


def _lines(told: Told) -> Iterator[str]:
    finding = told.finding
    stage = finding["stage"] or "no single stage"
    yield f"# {_text(finding['rule'])} at {stage}: {_text(finding['column'])}"
    yield ""
    yield f"{_text(finding['message'])}."
    yield ""
    yield f"* under test: {_text(told.subject)}"
    yield f"* where: step {finding['step']} of turn {finding['turn']}, {stage}{_node(finding)}"
    yield f"* found: `{_text(finding['fused'])}`, expected: `{_text(finding['reference'])}`"
    if finding.get("explanation"):
        yield f"* what it is instead: {_text(finding['explanation'])}"
    if told.evidence.located is not None:
        yield from (f"* {_text(' '.join(line.split()))}" for line in located_lines(told.evidence.located))
    yield from ("", "## See it", "", "```bash")
    yield "python repro.py          # needs torch alone: recomputes the stage from its inputs"
    yield "python repro.py --live   # calls the path under test instead of reading what it gave"
    yield "specwb view trace        # the recorded run"
    yield from ("```", "")
    yield "`repro.py` ends with exit code 1 while what was found differs from what its inputs give, else 0."
    if told.evidence.missing:
        yield f"The tensors of the stage are not all there: {_text(told.evidence.missing)}."
    yield from ("", "## The case", "", *_case(told), "", "## How small it got", "")
    yield from _table(told.before, told.after)
    yield ""
    yield from _remarks(told)
    yield from ("", "## Files", "")
    yield "* `repro.py`: inputs of the failing stage to its expected result, in plain torch"
    yield "* `stage.safetensors`: inputs of the stage, and what it gave"
    yield "* `models/`: the weights that are left, and their configuration"
    yield "* `case.json`: tokens, settings, finding"
    yield "* `trace/`: the recorded run of both paths"
    yield "* `outcomes.jsonl`, `begun.json`: of the search, with the whole prompt; leave them out"
    yield from ("", "## Versions", "")
    yield ", ".join(f"{name} {version}" for name, version in told.versions.items())


def _case(told: Told) -> Iterator[str]:
    for number, turn in enumerate(told.case.turns):
        shown = " ".join(_text(repr(told.texts.get(token, ""))) for token in turn[:MOST_TOKENS])
        more = f" and {len(turn) - MOST_TOKENS} more" if len(turn) > MOST_TOKENS else ""
        ids = ", ".join(map(str, turn[:MOST_TOKENS]))
        name = "prompt" if len(told.case.turns) == 1 else f"turn {number}"
        yield f"* {name}: token ids {ids}{more}, as text `{shown}`"
    settings = told.case.settings
    yield (
        f"* tree of {settings.tree_nodes} nodes{_shape(told)}; "
        f"{settings.max_new_tokens} new tokens, {settings.acceptance} acceptance, "
        f"{settings.kv_layout} cache, commit by {settings.commit_mode}, dtype {told.case.dtype}"
    )
    if told.case.eager:
        yield f"* operators that run eagerly: {', '.join(told.case.eager)}"


def _shape(told: Told) -> str:
    """Return what a search is told; other drafters do not read it."""
    settings = told.case.settings
    return f", depth {settings.depth}, top-k {settings.top_k}" if told.after.top_k else ""


def _table(before: Sizes, after: Sizes) -> Iterator[str]:
    yield "| | before | after |"
    yield "| --- | ---: | ---: |"
    first, last = before.as_json(), after.as_json()
    for name, word in WORDS.items():
        if first[name] or last[name]:
            yield f"| {word} | {first[name]:,} | {last[name]:,} |"


def _remarks(told: Told) -> Iterator[str]:
    target = told.observed.target
    yield (
        f"Kept through {told.num_run} smaller runs: the first finding is {_text(target.rule)} at "
        f"{target.stage or 'no single stage'}, and {target.guilty} is to blame."
    )
    if told.is_random:
        yield "The weights are random numbers in the shapes that are left: nothing here is of a real model."
    else:
        yield "The weights are slices of the real ones: with random ones the finding does not show."
    if told.is_controlled:
        yield f"On the same case specwb's own path{told.without} is clean."
    elif told.observed.control:
        yield f"specwb's own path also fails on the whole case: {_text(told.observed.control)}."
    if told.observed.rate < 1:
        yield (
            f"It comes and goes: {told.observed.rate:.0%} of the runs of the whole case showed it, so each "
            f"smaller case ran up to {told.observed.most_trials} times."
        )
    if not told.whole:
        yield "The time limit ended the search: run the same command again to make it smaller."


def _node(finding: Mapping[str, Any]) -> str:
    return "" if finding.get("node") is None else f", node {finding['node']}"


def _text(value: object) -> str:
    """Return text that means nothing to Markdown or to a terminal."""
    plain = safe_text(str(value)).replace("`", "'").replace("\n", " ")
    return plain.replace("|", "\\|").replace("<", "&lt;").rstrip(".")


def versions() -> dict[str, str]:
    """Return the versions that a reader may ask for; nothing that names this machine."""
    import torch

    from tracing.version import VERSION

    return {
        "specwb": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
