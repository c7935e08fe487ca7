"""Options of `specwb bench` that decide what is measured, and how they are read."""

from __future__ import annotations

from typing import Final

import click

from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from workbench.bench.suite import SUITES
from workbench.cli.decode_options import PAIR_OPTIONS, Function, choice_option

STUDIES: Final = {
    "accept-pos": "acceptance by position, conditional and cumulative",
    "budget": "tree budgets: nodes 16 to 256, depth 4 to 16, chains",
    "window": "drafter-only attention windows",
    "distance": "how far back the drafter looks",
    "modes": "execution modes: fused, eager, operator by operator",
    "commit": "replication and commit modes",
    "vocab": "subsets of the draft vocabulary",
    "stages": "time per stage, measured apart",
    "length": "context lengths 128 to 1,024 and the break-even point",
    "tree-auto": "the chosen tree against fixed ones",
    "generate": "transformers.generate, greedy and with prompt lookup",
}
"""Name on the command line to what it is."""

_OPTIONS = (
    choice_option(
        "--suite", values=SUITES, text="80 code completions and 80 two-turn chats (240 turns), or one kind."
    ),
    click.option("--humaneval", metavar="FILE", help="HumanEval.jsonl or .jsonl.gz, in place of the suite."),
    click.option("--mt-bench", metavar="FILE", help="MT-Bench question.jsonl, in place of the suite."),
    click.option(
        "--turns", type=click.IntRange(min=1), metavar="N", help="Only N turns, spread over the suite."
    ),
    click.option("--repetitions", type=click.IntRange(min=1), default=3, show_default=True),
    click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True),
    click.option(
        "--tree",
        metavar="auto|NODES/DEPTH/TOP_K",
        default="auto",
        show_default=True,
        help="auto chooses by a short measurement; e.g. 60/7/10 is what diff uses.",
    ),
    click.option(
        "--eager",
        metavar="auto|OPERATORS",
        default="auto",
        show_default=True,
        help="Operators to run eagerly, or none, all; auto takes what is fastest here.",
    ),
    click.option(
        "--study",
        "studies",
        metavar="NAME[,NAME]",
        multiple=True,
        help=f"Also: {', '.join(STUDIES)}, or all; repeatable.",
    ),
    click.option(
        "--study-turns",
        type=click.IntRange(min=1),
        default=12,
        show_default=True,
        help="Turns that each study decodes; a study that the folder holds is not repeated.",
    ),
    *PAIR_OPTIONS,
    click.option("--out", metavar="FOLDER", help="Results folder; one of the same options is continued."),
)


def evaluation_options(function: Function) -> Function:
    """Add the options of the evaluation."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def parse_tree(text: str) -> DecodeSettings | None:
    """Read `--tree`; None is auto.

    Raises:
        UsageError: Neither.
    """
    if text == "auto":
        return None
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
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
