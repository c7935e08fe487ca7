"""Experts of a teacher out of its config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tracing.errors import CheckpointError
from tracing.models import Experts
from workbench.checkpoints.config_values import whole

MOST: Final = 4096
"""No layer has more experts."""


def experts_of(config: Mapping[str, Any]) -> Experts:
    """Return the experts of every layer; there are as many groups as experts per token.

    Raises:
        CheckpointError: A key is missing or no size, or the experts do not fall into that many groups.
    """
    num_experts = whole(config, "num_experts", most=MOST)
    num_groups = whole(config, "num_experts_per_tok", most=MOST)
    if num_experts % num_groups:
        raise CheckpointError(
            f"config.json: num_experts {num_experts} is not a multiple of num_experts_per_tok {num_groups}, "
            "which is the number of groups"
        )
    return Experts(
        num_experts=num_experts,
        num_groups=num_groups,
        width=whole(config, "moe_intermediate_size"),
        shared_width=whole(config, "shared_expert_intermediate_size"),
    )
