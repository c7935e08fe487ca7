"""Small experiments on a device, one per contradiction of the vendor's pages.

Each runs in a process of its own (`python -m workbench.npu.probes KEY DEVICE`): a fault inside a kernel ends
that process only.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from workbench.npu.contradictions import KNOWN, Contradiction, Probe
from workbench.npu.probes import attention, others

__all__ = ["CONTRADICTIONS", "PROBES", "attention", "others"]

CONTRADICTIONS: Final[tuple[Contradiction, ...]] = tuple(question for question, _ in KNOWN.values())
PROBES: Final[Mapping[str, Probe]] = MappingProxyType({key: probe for key, (_, probe) in KNOWN.items()})
"""Probes by the key of their contradiction."""
