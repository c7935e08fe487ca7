"""Options of every command that decodes, defined once."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

import click

from tracing.distances import MAX_DIGITS, parse_edges
from tracing.errors import UsageError
from tracing.settings import (
    COMMIT_MODES,
    DEVICES,
    DTYPES,
    EAGER_OPERATORS,
    KV_LAYOUTS,
    LOOKUP_RULES,
    PROPOSERS,
    RUNGS,
    SAMPLING_SETTINGS,
    USUAL_TREE_NODES,
    BackendName,
    DecodeSettings,
)
from tracing.static_tree import named_trees, read_choices, static_tree
from workbench.cli.common_options import Decorator, choice_option, comma_separated, number_option, option_set
from workbench.cli.sampling_options import sampling_from, sampling_options
from workbench.npu.modes import Mode

_DEFAULTS = DecodeSettings()
OutputFormat = Literal["text", "json"]


backend_option: Final = choice_option(
    "--npu-backend",
    "--npu-way",
    "npu_backend",
    values=get_args(BackendName),
    text="How Ascend's operators are reached.",
)
"""The second name is an earlier one."""

PROPOSER_HELP: Final = "Kind of the drafter."
proposer_option: Final = choice_option("--proposer", values=PROPOSERS, text=PROPOSER_HELP)
recorded_proposer_option: Final = click.option(
    "--proposer", type=click.Choice(PROPOSERS), help=f"{PROPOSER_HELP} Default that of the recording."
)

model_option: Final = click.option(
    "--model", metavar="DIR", help="Teacher checkpoint; default the shipped pair."
)
AUTO: Final = "auto"
auto_options: Final = option_set(
    click.option("--policy", metavar="FILE", help="Table that auto chooses by; default ours."),
    click.option(
        "--measured", metavar="RUN|FILE", help="Measured costs that auto takes; default it measures."
    ),
)
"""Of commands that may choose for each request who drafts."""
placement_options: Final = option_set(
    click.option("--chat", is_flag=True, help="Use the tokenizer's chat template."),
    click.option("--trust-remote-code", is_flag=True, help="Allow code that a checkpoint brings."),
    click.option(
        "--weights",
        metavar="as-is|w4a16[:LAYOUT[:GROUP]]",
        default="as-is",
        show_default=True,
        help="The teacher's linear weights: as they are, or rounded to int4 as a public layout ships it "
        "(compressed-tensors, gptq, awq, npu); see docs/weights.md.",
    ),
    choice_option("--device", values=DEVICES),
    choice_option(
        "--dtype", values=DTYPES, text="Of the fused path; auto is float32 on a CPU, else bfloat16."
    ),
    backend_option,
)
"""Where models run, and how they are read."""
pair_options: Final = option_set(
    model_option,
    click.option(
        "--draft",
        metavar="DIR|KIND=DIR,...",
        help="Drafter checkpoint; default the shipped one. With --proposer auto one for each kind.",
    ),
    choice_option(
        "--proposer",
        values=(*PROPOSERS, AUTO),
        text=f"{PROPOSER_HELP} auto chooses one for each request, by --policy.",
    ),
    auto_options,
    placement_options,
)
"""Which models, where, and on which backend; of every command that runs a pair."""


def _static_tree(_context: click.Context, _option: click.Parameter, typed: str | None) -> str | None:
    """Read `--static-tree`: a name or paths as they are, a file of choices as paths."""
    return read_choices(Path(typed)) if typed and Path(typed).is_file() else typed


static_tree_text: Final = (
    f"{', '.join(named_trees())}, paths of ranks like '0 1 0.0 0.1', or a file of choices"
)


def static_tree_option(default: str | None, help_text: str) -> Decorator:
    """Return the option of a static tree."""
    return click.option(
        "--static-tree",
        default=default,
        show_default=default is not None,
        callback=_static_tree,
        metavar="NAME|PATHS|FILE",
        help=f"{help_text}: {static_tree_text}.",
    )


_TREE_NODES_HELP: Final = "Nodes of the tree, the root included; default {}, of medusa its tree's.".format(
    ", ".join(f"{number} ({proposer})" for proposer, number in USUAL_TREE_NODES.items())
)

decode_options: Final = option_set(
    pair_options,
    sampling_options,
    click.option("--fused", metavar="MODULE:FACTORY", help="Your own path instead of ours."),
    click.option(
        "--eager",
        metavar="OPERATORS",
        default="",
        help=f"Operators to run eagerly: {','.join(EAGER_OPERATORS)} or all; see docs/speed.md.",
    ),
    choice_option(
        "--npu-mode",
        values=[mode.value for mode in Mode],
        text="Refuse what is undefined, or do what the device would do.",
    ),
    number_option("--tree-nodes", None, _TREE_NODES_HELP, least=2, metavar="N"),
    number_option("--depth", _DEFAULTS.depth, "Expansions after the first level.", least=0),
    number_option("--top-k", _DEFAULTS.top_k, "Beams per level, candidates per beam."),
    click.option(
        "--stop-below",
        type=float,
        default=_DEFAULTS.stop_below,
        show_default=True,
        metavar="P",
        help="End a search where its best beam is less likely than this; 0: never.",
    ),
    choice_option("--lookup-rule", values=LOOKUP_RULES, text="Whose prompt lookup."),
    number_option("--lookup-min", _DEFAULTS.lookup_min, "Shortest n-gram of vLLM's lookup."),
    number_option("--lookup-max", _DEFAULTS.lookup_max, "Longest n-gram looked up."),
    static_tree_option(_DEFAULTS.static_tree, "Tree of Medusa heads"),
    number_option("--max-new-tokens", _DEFAULTS.max_new_tokens),
    choice_option("--commit-mode", values=COMMIT_MODES),
    choice_option(
        "--kv-layout",
        values=KV_LAYOUTS,
        text="The teacher's cache: rows behind each other, or in blocks found through a table.",
    ),
    number_option("--block-size", _DEFAULTS.block_size, "Tokens per block of the paged layout."),
)
"""The options that every decoding command takes."""

prompt_option: Final = click.option(
    "--prompt", "prompt_file", metavar="FILE|-", help="Text, or .jsonl with turns."
)
reference_options: Final = option_set(
    choice_option("--reference", values=RUNGS, text="Rung of the reference."),
    click.option("--reference-device", default="cpu", show_default=True, help="Where the reference runs."),
)
format_option: Final = choice_option("--format", "output_format", values=get_args(OutputFormat))


def _edges(_context: click.Context, _option: click.Parameter, typed: str | None) -> tuple[int, ...] | None:
    return None if typed is None else parse_edges(typed)


edges_option: Final = click.option(
    "--distance-edges",
    callback=_edges,
    metavar="0,E,...",
    help="Lower edges of the attention distance buckets; default 0,1,2,4,...,256 or what the run states.",
)


def eager_operators(text: str) -> frozenset[str]:
    """Read `--eager`.

    Raises:
        UsageError: An operator that is not there.
    """
    names = set(comma_separated([text]))
    if "all" in names:
        return frozenset(EAGER_OPERATORS)
    unknown = sorted(names.difference(EAGER_OPERATORS))
    if unknown:
        raise UsageError(f"--eager should name {', '.join(EAGER_OPERATORS)} or all, got {unknown[0]!r}")
    return frozenset(names)


def parse_kinds(draft: str | None) -> dict[str, str]:
    """Read `KIND=DIR,KIND=DIR`.

    Raises:
        UsageError: It is something else.
    """
    drafts: dict[str, str] = {}
    for part in (draft or "").split(",") if draft else ():
        kind, equals, directory = part.strip().partition("=")
        if not equals or not directory or kind not in PROPOSERS or kind in drafts:
            raise UsageError(
                f"--draft with --proposer auto should be KIND=DIR[,KIND=DIR], each kind of "
                f"{', '.join(PROPOSERS)} once, got {part.strip()!r}"
            )
        drafts[kind] = directory
    return drafts


def drafts_by_kind(options: dict[str, Any]) -> dict[str, Any]:
    """Read `--draft`, `--policy` and `--measured` as `--proposer` has them.

    Returns:
        `draft`, `drafts`, `policy` and `measured`.

    Raises:
        UsageError: An option that the proposer does not have, or no `KIND=DIR`.
    """
    draft, policy, measured = options["draft"], options["policy"], options["measured"]
    if options["proposer"] != AUTO:
        for name, given in (("--policy", policy), ("--measured", measured)):
            if given is not None:
                raise UsageError(f"{name} goes with --proposer auto")
        return {"draft": draft, "drafts": {}, "policy": None, "measured": None}
    drafts = parse_kinds(draft)
    if drafts and options["model"] is None:
        raise UsageError("--model and --draft go together: a drafter is trained for one teacher")
    return {
        "draft": None,
        "drafts": drafts,
        "policy": None if policy is None else Path(policy),
        "measured": None if measured is None else Path(measured),
    }


def step_range(text: str) -> tuple[int, int | None] | None:
    """Read `A:B`, either of which may be left out; None where it is something else.

    Raises:
        UsageError: There is no step in it.
    """
    first, colon, last = text.partition(":")
    if not colon or not all(part.isdecimal() and len(part) < MAX_DIGITS for part in (first, last) if part):
        return None
    steps = int(first or 0), int(last) if last else None
    if steps[1] is not None and steps[1] <= steps[0]:
        raise UsageError(f"steps A:B are A up to, not including, B: {text} holds none")
    return steps


def settings_from(options: dict[str, Any]) -> DecodeSettings:
    """Read the decoding settings from a command's options."""
    given = {
        field.name: options[field.name]
        for field in fields(DecodeSettings)
        if options.get(field.name) is not None and field.name not in ("acceptance", *SAMPLING_SETTINGS)
    }
    proposer = options.get("proposer", PROPOSERS[0])
    if proposer == "medusa":
        given.setdefault("tree_nodes", 1 + len(static_tree(given["static_tree"])))
    elif proposer in USUAL_TREE_NODES:
        given.setdefault("tree_nodes", USUAL_TREE_NODES[proposer])
    return DecodeSettings(**(given | sampling_from(options)))
