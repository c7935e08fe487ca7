"""Acceptance rules of the reference that choose by chance: each a generator of questions, in one registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from reference.sampling.chooser import RuleChooser
from reference.sampling.rules import RULES
from tracing.draws import Draws
from tracing.sampling import Chooser
from tracing.settings import DecodeSettings

CHOOSERS: Final[Mapping[str, Callable[[DecodeSettings, Draws], Chooser]]] = {
    **{name: partial(RuleChooser, rule) for name, rule in RULES.items()},
}
"""Acceptance rule to its chooser; `greedy` needs none."""


def chooser_for(settings: DecodeSettings, draws: Draws) -> Chooser | None:
    """Return the chooser of these settings, None if they are greedy."""
    return None if settings.is_greedy else CHOOSERS[settings.acceptance](settings, draws)
