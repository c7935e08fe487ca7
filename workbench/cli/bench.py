"""`specwb bench`: the paper's evaluation on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from workbench.bench.suite import SUITES
from workbench.cli.decode_options import choice_option, format_option, number_option, option_set, pair_options

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

_evaluation_options: Final = option_set(
    choice_option(
        "--suite", values=SUITES, text="80 code completions and 80 two-turn chats (240 turns), or one kind."
    ),
    click.option("--humaneval", metavar="FILE", help="HumanEval.jsonl or .jsonl.gz, in place of the suite."),
    click.option("--mt-bench", metavar="FILE", help="MT-Bench question.jsonl, in place of the suite."),
    number_option("--turns", None, "Only N turns, spread over the suite.", metavar="N"),
    number_option("--repetitions", 3),
    number_option("--max-new-tokens", 128),
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
    number_option(
        "--study-turns", 12, "Turns that each study decodes; a study that the folder holds is not repeated."
    ),
    pair_options,
    click.option("--out", metavar="FOLDER", help="Results folder; one of the same options is continued."),
)


@click.command(name="bench")
@_evaluation_options
@format_option
def command(*, output_format: str, **options: Any) -> int:
    """Speculative against teacher-only greedy decoding, and the paper's studies.

    The same teacher, engine, kernels and stop rules on both sides, turn by turn; every text is compared. A
    results folder that exists already is continued.

    Exit codes: 0 all texts are the teacher's own, 1 one is not, 2 usage, 3 environment, 130 interrupted.
    """
    from workbench.npu.bootstrap import bootstrap

    backend = bootstrap(options["npu_backend"])
    from workbench.cli.bench_evaluation import evaluate

    out = options.pop("out")
    return evaluate(None if out is None else Path(out), backend.as_json(), output_format, options)


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
