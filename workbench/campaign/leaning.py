"""Small mistakes in a half precision, over all cases of a campaign: evidence of independent runs multiplies.

Runs of one prompt round alike whatever their options, so that of each prompt and dtype one case counts, the
first in the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from workbench.judge.paired import Paired

WHAT: Final = {"draft": "the scores of candidates", "verify": "logits"}
"""Stage to what is measured there."""


@dataclass(slots=True)
class CampaignLeanings:
    """What cases without a planted fault and without a finding lean to.

    Attributes:
        first: Dtype and prompt to the case that counts, and what it measured.
    """

    first: dict[tuple[str, str], tuple[int, Mapping[str, Any]]] = field(default_factory=dict)

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Take in a case."""
        told = outcome.get("leanings")
        if outcome["fault"] or outcome["num_findings"] or not told:
            return
        key = outcome["over"].get("dtype", "float32"), outcome["name"]
        known = self.first.get(key)
        if known is None or outcome["number"] < known[0]:
            self.first[key] = outcome["number"], told

    def joined(self) -> dict[tuple[str, str], Paired]:
        """Return dtype and stage to what all cases measured together."""
        sums: dict[tuple[str, str], Paired] = {}
        for (dtype, _), (_, told) in sorted(self.first.items()):
            for stage, held in told.items():
                sums.setdefault((dtype, stage), Paired()).join(Paired.from_json(held))
        return sums

    def made(self) -> Iterator[str]:
        """Yield a sentence for each mistake that all cases together show."""
        for (dtype, stage), paired in self.joined().items():
            made = paired.made()
            if made is not None:
                yield f"{dtype} {stage}: {made.sentence(WHAT[stage], dtype)}"
