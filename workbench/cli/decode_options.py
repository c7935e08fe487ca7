"""Options of every command that decodes, defined once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Final, Literal, get_args

import click

from tracing.distances import parse_edges
from tracing.errors import UsageError
from tracing.settings import (
    COMMIT_MODES,
    DEVICES,
    DTYPES,
    EAGER_OPERATORS,
    KV_LAYOUTS,
    PROPOSERS,
    BackendName,
    DecodeSettings,
)
from workbench.npu.modes import Mode

_DEFAULTS = DecodeSettings()
Function = Callable[..., Any]
OutputFormat = Literal["text", "json"]


def choice_option(
    *names: str, values: Sequence[str], text: str | None = None
) -> Callable[[Function], Function]:
    """Return an option of a few values, the first of which is the default."""
    return click.option(*names, type=click.Choice(values), default=values[0], show_default=True, help=text)


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

PAIR_OPTIONS: Final = (
    click.option("--model", metavar="DIR", help="Teacher checkpoint; default the shipped pair."),
    click.option("--draft", metavar="DIR", help="Drafter checkpoint; default the shipped pair."),
    proposer_option,
    click.option("--chat", is_flag=True, help="Use the tokenizer's chat template."),
    click.option("--trust-remote-code", is_flag=True, help="Allow code that a checkpoint brings."),
    choice_option("--device", values=DEVICES),
    choice_option(
        "--dtype", values=DTYPES, text="Of the fused path; auto is float32 on a CPU, else bfloat16."
    ),
    backend_option,
)
"""Which models, where, and on which backend; of every command that runs them."""

_DECODE: Final = (
    *PAIR_OPTIONS,
    click.option("--fused", metavar="MODULE:FACTORY", help="Your own path instead of ours."),
    click.option(
        "--eager",
        metavar="OPERATORS",
        default="",
        help=f"Fused operators to run eagerly: {','.join(EAGER_OPERATORS)} or all.",
    ),
    choice_option(
        "--npu-mode",
        values=[mode.value for mode in Mode],
        text="Refuse what is undefined, or do what the device would do.",
    ),
    click.option(
        "--tree-nodes",
        type=click.IntRange(min=2),
        default=_DEFAULTS.tree_nodes,
        show_default=True,
        metavar="N",
        help="Nodes of the tree, the root included.",
    ),
    click.option(
        "--depth",
        type=click.IntRange(min=0),
        default=_DEFAULTS.depth,
        show_default=True,
        help="Expansions after the first level.",
    ),
    click.option(
        "--top-k",
        type=click.IntRange(min=1),
        default=_DEFAULTS.top_k,
        show_default=True,
        help="Beams per level, candidates per beam.",
    ),
    click.option(
        "--max-new-tokens", type=click.IntRange(min=1), default=_DEFAULTS.max_new_tokens, show_default=True
    ),
    choice_option("--commit-mode", values=COMMIT_MODES),
    choice_option(
        "--kv-layout",
        values=KV_LAYOUTS,
        text="The teacher's cache: rows behind each other, or in blocks found through a table.",
    ),
    click.option(
        "--block-size",
        type=click.IntRange(min=1),
        default=_DEFAULTS.block_size,
        show_default=True,
        help="Tokens per block of the paged layout.",
    ),
)


def decode_options(function: Function) -> Function:
    """Add the options that every decoding command takes."""
    for option in reversed(_DECODE):
        function = option(function)
    return function


def format_option(function: Function) -> Function:
    """Add `--format text|json`."""
    return choice_option("--format", "output_format", values=get_args(OutputFormat))(function)


def _edges(_context: click.Context, _option: click.Parameter, typed: str | None) -> tuple[int, ...] | None:
    return None if typed is None else parse_edges(typed)


def edges_option(function: Function) -> Function:
    """Add `--distance-edges`."""
    decorate: Function = click.option(
        "--distance-edges",
        callback=_edges,
        metavar="0,E,...",
        help="Lower edges of the attention distance buckets; default 0,1,2,4,...,256 or what the run states.",
    )
    return decorate(function)  # type: ignore[no-any-return]


def eager_operators(text: str) -> frozenset[str]:
    """Read `--eager`.

    Raises:
        UsageError: An operator that is not there.
    """
    names = {name.strip() for name in text.split(",") if name.strip()}
    if "all" in names:
        return frozenset(EAGER_OPERATORS)
    unknown = sorted(names.difference(EAGER_OPERATORS))
    if unknown:
        raise UsageError(f"--eager should name {', '.join(EAGER_OPERATORS)} or all, got {unknown[0]!r}")
    return frozenset(names)


def settings_from(options: dict[str, Any]) -> DecodeSettings:
    """Read the decoding settings from a command's options."""
    known = [field.name for field in fields(DecodeSettings) if field.name in options]
    return DecodeSettings(**{name: options[name] for name in known})
