"""`specwb bench`: the paper's evaluation on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from tracing.settings import PROPOSERS
from workbench.bench.studies import STUDIES
from workbench.bench.suite import SUITES
from workbench.cli.common_options import choice_option, number_option, option_set
from workbench.cli.decode_options import (
    auto_options,
    format_option,
    model_option,
    placement_options,
    static_tree_option,
)

_evaluation_options: Final = option_set(
    choice_option(
        "--suite",
        values=SUITES,
        text="80 code completions and 80 two-turn chats (240 turns), or one kind; fresh: prompts whose "
        "continuation does not repeat itself.",
    ),
    click.option("--humaneval", metavar="FILE", help="HumanEval.jsonl or .jsonl.gz, in place of the suite."),
    click.option("--mt-bench", metavar="FILE", help="MT-Bench question.jsonl, in place of the suite."),
    number_option("--turns", None, "Only N turns, spread over the suite.", metavar="N"),
    number_option("--repetitions", 3),
    number_option("--max-new-tokens", 128),
    click.option(
        "--proposer",
        "proposers",
        metavar="KIND[,KIND]",
        multiple=True,
        help=f"Side by side: {', '.join(PROPOSERS)}, auto, or all; default {PROPOSERS[0]}.",
    ),
    auto_options,
    click.option(
        "--peers",
        metavar="NAME=PYTHON[,...]",
        multiple=True,
        help="Other engines in the same run, each by the Python of its environment: transformers, eagle, "
        "vllm, openvino; NAME:MODE=PYTHON runs one way of decoding. See docs/peers.md.",
    ),
    click.option(
        "--tree",
        metavar="auto|NODES/DEPTH/TOP_K[/BOUND]",
        default="auto",
        show_default=True,
        help="auto chooses by a short measurement; e.g. 60/7/10 is what diff uses.",
    ),
    static_tree_option(None, "Tree of Medusa heads in place of one chosen by measurement"),
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
    model_option,
    click.option(
        "--draft",
        "drafts",
        metavar="[KIND=]DIR",
        multiple=True,
        help="Drafter checkpoint; with several proposers the kind it is of; default the shipped ones.",
    ),
    placement_options,
    click.option("--out", metavar="FOLDER", help="Results folder; one of the same options is continued."),
)


@click.command(name="bench")
@_evaluation_options
@format_option
def command(*, output_format: str, **options: Any) -> int:
    """Speculative against teacher-only greedy decoding, and the paper's studies.

    The same teacher, engine and stop rules on all sides, turn by turn; every text is compared. A results
    folder that exists already is continued.

    Exit codes: 0 all texts are the teacher's own, 1 one is not, 2 usage, 3 environment, 130 interrupted.
    """
    from workbench.npu.bootstrap import bootstrap

    backend = bootstrap(options["npu_backend"], passive=False)
    from workbench.cli.bench_evaluation import evaluate

    out = options.pop("out")
    return evaluate(None if out is None else Path(out), backend.as_json(), output_format, options)
