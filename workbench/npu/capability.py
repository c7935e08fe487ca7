"""What a platform can do, by chip, CANN and torch_npu release; later rows that match win."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from workbench.npu.bootstrap import current
from workbench.npu.machine import cann_version
from workbench.npu.modes import CAPABILITIES, Mode, use_capabilities, use_mode


@dataclass(frozen=True, slots=True)
class Platform:
    """What capabilities depend on; None where it is not known or not there.

    Attributes:
        soc: Chip name as torch_npu gives it, e.g. `Ascend910B3`.
        cann: CANN release, e.g. `9.1.0`.
        torch_npu: torch_npu release, e.g. `2.13.0`.
    """

    soc: str | None = None
    cann: str | None = None
    torch_npu: str | None = None


@dataclass(frozen=True, slots=True)
class Capability:
    """One statement of the table.

    Attributes:
        name: Stable name, e.g. `tree_mask_gqa`.
        value: What holds; None where the sources contradict each other or are silent.
        source: Where that is stated.
        soc: Prefix of the chips that this row is for; every chip when empty.
        cann: Lowest CANN release that this row is for.
        torch_npu: Release prefix of torch_npu that this row is for; every release when empty.
    """

    name: str
    value: bool | int | str | None
    source: str
    soc: str = ""
    cann: str = ""
    torch_npu: str = ""

    def holds_on(self, platform: Platform) -> bool:
        """Return whether this row applies to that platform; a condition on an unknown value does not hold."""
        return (
            (platform.soc or "").startswith(self.soc)
            and _release(platform.cann) >= _release(self.cann)
            and f"{platform.torch_npu or ''}.".startswith(f"{self.torch_npu}." if self.torch_npu else "")
        )


TABLE: Final[tuple[Capability, ...]] = (
    Capability("tree_mask_gqa", None, "sparse_mode 9 without rope: host check and aclnn V4 page disagree"),
    Capability("tree_mask_gqa", False, "sparse_mode 9 is checked for 910B only", soc="Ascend310P"),
    Capability("tree_mask_gqa", False, "sparse_mode 9 is checked for 910B only", soc="Ascend950"),
    Capability("mask_q1", None, "a mask with one query row is documented; faults are reported"),
    Capability("mask_q1", False, "vllm-ascend issue 15503: entries past 512 ignored", torch_npu="2.10"),
    Capability("tnd_without_mask", None, "vllm-ascend issue 13699: uniform averages on one stack"),
    Capability("block_size_max", 512, "torch page of npu_fused_infer_attention_score"),
    Capability("block_size_max_d64_d128", 1024, "aclnn page and host check, head dim 64 or 128"),
    Capability("fia_v1", None, "aclnnFusedInferAttentionScoreV3 needs CANN 8.1.RC1"),
    Capability("fia_v1", False, "aclnnFusedInferAttentionScoreV3 needs CANN 8.1.RC1", cann="0"),
    Capability("fia_v1", True, "aclnnFusedInferAttentionScoreV3", cann="8.1"),
    Capability("deterministic_level", None, "set_deterministic_level needs CANN 8.5"),
    Capability("deterministic_level", 0, "set_deterministic_level needs CANN 8.5", cann="0"),
    Capability("deterministic_level", 2, "torch_npu.npu.set_deterministic_level, levels 0 to 2", cann="8.5"),
    Capability("deterministic_level", 3, "level 3, batch invariance", cann="9.2"),
    Capability("attention_batch_invariant", None, "not stated; tiles depend on B, Q_S and KV lengths"),
    Capability("gather_bfloat16", False, "API list 2.13: torch.gather without bfloat16"),
    Capability("paged_splitfuse_needs_atb", True, "_npu_paged_attention_splitfuse is part of NNAL"),
)
"""Rules of Atlas A2 and A3 first; rows with a condition refine them."""


def capabilities(platform: Platform) -> Mapping[str, Capability]:
    """Return the row that holds for each capability on this platform, by name."""
    return {row.name: row for row in TABLE if row.holds_on(platform)}


def this_platform() -> Platform:
    """Return what is known of the machine under the backend that this process uses."""
    backend = current()
    soc, torch_npu = (backend.soc, backend.torch_npu) if backend else (None, None)
    return Platform(soc, cann_version(), torch_npu)


def allowed_features(platform: Platform) -> frozenset[str]:
    """Return the contested features that hold there by the table, as `modes.use_capabilities` takes them.

    What the sources contradict each other about, or are silent about, is not among them.
    """
    known = capabilities(platform)
    return frozenset(name for name in CAPABILITIES if name in known and known[name].value is True)


def _release(text: str | None) -> tuple[int, ...]:
    """Return the numbers of a release, `8.1.RC1` as (8, 1); unknown is below every release."""
    match = re.match(r"\d+(\.\d+)*", text or "")
    return tuple(int(part) for part in match.group().split(".")) if match else ()


@contextmanager
def as_here(mode: Mode | str) -> Iterator[None]:
    """Run the body in a mode, with the contested features that this platform affirms.

    Raises:
        UsageError: for an unknown mode.
    """
    with use_mode(mode), use_capabilities(allowed_features(this_platform())):
        yield
