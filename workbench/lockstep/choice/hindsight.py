"""What prompt lookup would have accepted of a text that another choice decoded: no model has to run for it.

The draft of a lookup depends on the text alone, and a text that is decoded losslessly is the teacher's own.
So every lookup of the same teacher learns from every request, also from those that it was not chosen for;
without this, a choice that began with bad luck would never be measured again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tracing.settings import DecodeSettings
from workbench.fused.drafters.lookup import look_up
from workbench.lockstep.choice.measured import StepCounts
from workbench.lockstep.choice.trials import Contender


def lookups_in_hindsight(
    contenders: Mapping[str, Contender], chosen: Contender, prompt: Sequence[int], emitted: Sequence[int]
) -> dict[str, StepCounts]:
    """Return what the steps of every lookup that was not chosen would have been, by its name.

    Args:
        contenders: By name.
        chosen: The one that decoded; only lookups of its teacher would have given the same text.
        prompt: Token ids before the turn's first emitted one.
        emitted: Token ids of the turn.
    """
    return {
        name: looked_up(prompt, emitted, each.settings, each.max_positions, each.eos_token_ids)
        for name, each in contenders.items()
        if each.proposer == "lookup" and each.teacher == chosen.teacher and name != chosen.name
    }


def looked_up(
    prompt: Sequence[int],
    emitted: Sequence[int],
    settings: DecodeSettings,
    max_positions: int,
    eos_token_ids: frozenset[int],
) -> StepCounts:
    """Return the steps in which a lookup would have emitted a text; the one that ends it is none.

    Args:
        prompt: Token ids.
        emitted: Token ids that follow, the first root first.
        settings: Of the lookup.
        max_positions: Of the teacher.
        eos_token_ids: Of the teacher.
    """
    text = np.array([*prompt, *emitted], dtype=np.int64)
    eos = np.array(sorted(eos_token_ids), dtype=np.int64)
    end = len(prompt) + 1  # up to and with the root of the next step
    steps = accepted = alone = 0
    while end < len(text):
        found = look_up(text[:end], settings, max_positions, eos)
        after = text[end : end + len(found)]
        num = int(np.cumprod(found[: len(after)] == after).sum())
        if end + num + 1 >= len(text):  # the text ends in this step, or with it
            break
        steps, accepted, alone = steps + 1, accepted + num, alone + (not len(found))
        end += num + 1
    return StepCounts(steps, accepted, alone)
