"""Which operators run fused and which eager: arguments and EAGLE-Pangu's environment variables."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, Final

from tracing.errors import UsageError
from tracing.settings import require_operators

VARIABLES: Final = (
    "PANGU_DISABLE_NPU_FUSED",
    "PANGU_DISABLE_NPU_FUSED_TREE",
    "PANGU_FORCE_EAGER_ATTN",
    "EA_FAST_CACHE_REORDER",
)
"""Environment variables, named as in arXiv 2603.08088."""

_WORDS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False}
_BOOLEANS: Final = _WORDS | {"off": False, "": False}


@dataclass(frozen=True, slots=True)
class Switches:
    """What runs how.

    Attributes:
        eager: Operators that run as plain torch, out of `EAGER_OPERATORS`; `scatter` writes rows into a paged
            cache.
        fused_prefill: Attention outside the tree (prefill and drafter) may use the fused operator.
        fused_tree: Tree verification may use the fused operator.
        fast_reorder: The prefix-sharing fast reorder is allowed.
        reasons: Why something is not as asked or not fused, one sentence each.
    """

    eager: frozenset[str] = frozenset()
    fused_prefill: bool = True
    fused_tree: bool = True
    fast_reorder: bool = True
    reasons: tuple[str, ...] = ()

    def fused_attention(self, *, tree: bool) -> bool:
        """Return whether attention of a tree forward, or of any other one, is fused."""
        return "attention" not in self.eager and (self.fused_tree if tree else self.fused_prefill)

    def with_eager(self, operators: Set[str], reason: str) -> Switches:
        """Return these switches with more operators eager, and why."""
        return replace(self, eager=self.eager | operators, reasons=(*self.reasons, reason))

    def as_json(self) -> Mapping[str, Any]:
        """Return plain data for the manifest."""
        return {
            "eager": sorted(self.eager),
            "fused_prefill": self.fused_attention(tree=False),
            "fused_tree": self.fused_attention(tree=True),
            "fast_reorder": self.fast_reorder,
            "reasons": list(self.reasons),
        }


def read_switches(eager: Set[str], environment: Mapping[str, str]) -> Switches:
    """Combine the argument with the environment; either can make an operator eager.

    Args:
        eager: Operators asked to run eager.
        environment: Usually `os.environ`; only `VARIABLES` are read, `EA_FAST_CACHE_REORDER` unset allows.

    Raises:
        UsageError: An unknown operator, or a variable that is neither true nor false.
    """
    require_operators(eager)
    set_to = {name: _boolean(name, environment[name]) for name in VARIABLES if name in environment}
    force_eager = set_to.get("PANGU_FORCE_EAGER_ATTN", False)
    return Switches(
        eager=frozenset(eager) | ({"attention"} if force_eager else frozenset()),
        fused_prefill=not set_to.get("PANGU_DISABLE_NPU_FUSED", False),
        fused_tree=not set_to.get("PANGU_DISABLE_NPU_FUSED_TREE", False),
        fast_reorder=set_to.get("EA_FAST_CACHE_REORDER", True),
        reasons=tuple(f"{name}={environment[name]}" for name in set_to),
    )


def _boolean(name: str, text: str) -> bool:
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise UsageError(f"{name} should be 1 or 0, got {text!r}") from None
