"""Options that say how tokens are chosen, and their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from tracing.errors import UsageError
from tracing.settings import ACCEPTANCES, SAMPLING_SETTINGS, DecodeSettings
from workbench.cli.common_options import option_set

MOST_LOGITS: Final = 64
"""Logits per node that are recorded for top-k."""
sampling_options: Final = option_set(
    click.option(
        "--acceptance",
        type=click.Choice(ACCEPTANCES),
        help="Rule by which tokens are chosen; default greedy, or eagle where a temperature is given.",
    ),
    click.option(
        "--temperature", type=float, metavar="T", help="Sample at this temperature; 0 is greedy. Default 1."
    ),
    click.option(
        "--sampling-top-k",
        type=click.IntRange(min=0),
        metavar="K",
        help="Sample from the K likeliest tokens; default all.",
    ),
    click.option("--top-p", type=float, metavar="P", help="Sample from the likeliest tokens that make up P."),
    click.option("--seed", type=click.IntRange(-(2**63), 2**63 - 1), default=0, help="Of the draws."),
    click.option("--edge-draws", is_flag=True, help="Draw 0 and almost 1 now and then, where rules fail."),
)


def sampling_from(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read how tokens are chosen, as settings.

    Raises:
        UsageError: Greedy, and a setting that only sampling reads; or sampling at temperature 0.
    """
    given = {name: options[name] for name in SAMPLING_SETTINGS if options.get(name) is not None}
    acceptance = options.get("acceptance")
    if given.get("temperature") == 0:
        if acceptance not in (None, "greedy"):
            raise UsageError(f"--temperature 0 is greedy; --acceptance {acceptance} needs one above 0")
        acceptance = "greedy"
        given.pop("temperature")
    if acceptance is None:
        acceptance = "eagle" if given else "greedy"
    if acceptance == "greedy" and given:
        name = next(iter(given)).replace("_", "-")
        raise UsageError(f"--{name} is for sampling; leave it out, or give a --temperature above 0")
    known = given.get("sampling_top_k", 0)  # one logit more than are sampled shows the whole law
    more = {"top_logits": known + 1} if DecodeSettings().top_logits <= known <= MOST_LOGITS else {}
    return {"acceptance": acceptance, **given, **more}
