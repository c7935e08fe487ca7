"""Options of every command that decodes, defined once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args

import click

from tracing.distances import parse_edges
from tracing.errors import UsageError
from tracing.settings import BackendName, DecodeSettings

_DEFAULTS = DecodeSettings()
Function = Callable[..., Any]

backend_option: Final = click.option(
    "--npu-backend",
    "--npu-way",
    "npu_backend",
    type=click.Choice(get_args(BackendName)),
    default="auto",
    show_default=True,
    help="How Ascend's operators are reached.",
)
"""The second name is an earlier one."""

PAIR_OPTIONS: Final = (
    click.option("--model", metavar="DIR", help="Teacher checkpoint; default the shipped pair."),
    click.option("--draft", metavar="DIR", help="EAGLE-3 drafter checkpoint; default the shipped pair."),
    click.option("--chat", is_flag=True, help="Use the tokenizer's chat template."),
    click.option("--trust-remote-code", is_flag=True, help="Allow code that a checkpoint brings."),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda", "npu"]), default="auto", show_default=True
    ),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="Of the fused path; auto is float32 on a CPU, else bfloat16.",
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
        help="Fused operators to run eagerly: attention,norm,rotary,swiglu,scatter or all.",
    ),
    click.option(
        "--npu-mode",
        type=click.Choice(["strict", "hardware"]),
        default="strict",
        show_default=True,
        help="Refuse what is undefined, or do what the device would do.",
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
    click.option(
        "--commit-mode",
        type=click.Choice(["fast_reorder", "full_reorder", "length"]),
        default=_DEFAULTS.commit_mode,
        show_default=True,
    ),
    click.option(
        "--kv-layout",
        type=click.Choice(["contiguous", "paged"]),
        default=_DEFAULTS.kv_layout,
        show_default=True,
        help="The teacher's cache: rows behind each other, or in blocks found through a table.",
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
    choice = click.Choice(["text", "json"])
    decorate: Function = click.option(
        "--format", "output_format", type=choice, default="text", show_default=True
    )
    return decorate(function)  # type: ignore[no-any-return]


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


OPERATORS = ("attention", "norm", "rotary", "swiglu", "scatter")


def eager_operators(text: str) -> frozenset[str]:
    """Read `--eager`.

    Raises:
        UsageError: An operator that is not there.
    """
    names = {name.strip() for name in text.split(",") if name.strip()}
    if "all" in names:
        return frozenset(OPERATORS)
    unknown = sorted(names.difference(OPERATORS))
    if unknown:
        raise UsageError(f"--eager should name {', '.join(OPERATORS)} or all, got {unknown[0]!r}")
    return frozenset(names)


def settings_from(options: dict[str, Any]) -> DecodeSettings:
    """Read the decoding settings from a command's options."""
    names = ("tree_nodes", "depth", "top_k", "max_new_tokens", "commit_mode", "kv_layout", "block_size")
    return DecodeSettings(**{name: options[name] for name in names})
