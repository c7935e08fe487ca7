"""What a watch observes: index uses by site, kernels, and one finding per site and rule. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from tracing.errors import ContractError
from tracing.finding import Finding
from tracing.moment import Moment

if TYPE_CHECKING:
    from workbench.npu.indexing import IndexedOperator

NEGATIVE: Final = "NPU-INDEX-NEGATIVE"
RANGE: Final = "NPU-INDEX-RANGE"


class WatchTrace(Protocol):
    """Where a watch records: a recorder, or anything with these two methods."""

    def index_site(self, site: str, minimum: int, maximum: int, bound: int) -> None:
        """Take one use of an index tensor; legal values are 0..bound - 1."""
        ...

    def kernel(self, text: str) -> None:
        """Take the line of one attention call."""
        ...


@dataclass(frozen=True, slots=True)
class IndexSite:
    """All uses of index tensors at one place.

    Attributes:
        site: `file:line operator`.
        minimum: Smallest value seen.
        maximum: Largest value seen.
        bound: Smallest size of the indexed axis seen; legal values are 0..bound - 1.
        num_uses: How often the place was passed.
        num_violations: Uses with a negative or too large value.
    """

    site: str
    minimum: int
    maximum: int
    bound: int
    num_uses: int
    num_violations: int

    def merged(self, other: IndexSite) -> IndexSite:
        """Return both together; the bound is the tighter one."""
        return IndexSite(
            self.site,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            min(self.bound, other.bound),
            self.num_uses + other.num_uses,
            self.num_violations + other.num_violations,
        )


class Observations:
    """Collects what a watch observes and records it in the trace.

    Attributes:
        sites: Index uses by site.
        findings: One per site and rule, in order of first occurrence.
        kernels: How often each Ascend operator was called, by kernel line.
        unchecked: Ascend operators that were called and have no contract here.
        not_inspected: Operators that could not be inspected, with the first reason.
    """

    def __init__(self, trace: WatchTrace | None, path: str, moment: Callable[[], Moment]) -> None:
        self.sites: dict[str, IndexSite] = {}
        self.findings: list[Finding] = []
        self.kernels: Counter[str] = Counter()
        self.unchecked: set[str] = set()
        self.not_inspected: dict[str, str] = {}
        self._trace = trace
        self._path = path
        self._moment = moment
        self._reported: set[tuple[str, str]] = set()

    def kernel(self, name: str, text: str) -> None:
        """Take one call of an Ascend operator; the trace gets the attention calls."""
        self.kernels[text] += 1
        if self._trace is not None and "attention" in name:
            self._trace.kernel(text)

    def index(
        self, name: str, operator: IndexedOperator, place: str, *, minimum: int, maximum: int, bound: int
    ) -> None:
        """Take one use of an index tensor by operator `name` at `file:line`."""
        site = f"{place} {name}"
        broken = minimum < 0 or maximum >= bound
        use = IndexSite(site, minimum, maximum, bound, 1, int(broken))
        self.sites[site] = self.sites[site].merged(use) if site in self.sites else use
        if self._trace is not None:
            self._trace.index_site(site, minimum, maximum, bound)
        if minimum < 0:
            self._report_index(NEGATIVE, operator, site, minimum, bound)
        if maximum >= bound or minimum < -bound:
            self._report_index(RANGE, operator, site, maximum if maximum >= bound else minimum, bound)

    def broken_contract(self, broken: ContractError, place: str) -> None:
        """Take a call that its contract refuses."""
        site = f"{place} {broken.operator}"
        self._report(
            site,
            broken.rule,
            column="kernel",
            fused=broken.value,
            reference=broken.expected,
            message=f"{site}: {broken}",
        )

    def _report_index(
        self, rule_id: str, operator: IndexedOperator, site: str, value: int, bound: int
    ) -> None:
        documented = rule_id == NEGATIVE and operator.wraps
        effect = operator.negative if rule_id == NEGATIVE else operator.too_large
        self._report(
            site,
            rule_id,
            column="index_sites",
            fused=value,
            reference=f"0..{bound - 1}",
            severity="warning" if documented else "error",
            message=f"{site}: index {value} where 0..{bound - 1} is legal; "
            f"on the device ({operator.device_operator}): {effect} [{operator.source}]",
        )

    def _report(self, site: str, rule: str, **fields: Any) -> None:
        if (site, rule) in self._reported:
            return
        self._reported.add((site, rule))
        where = self._moment()
        self.findings.append(Finding("structural", self._path, where, path=self._path, rule=rule, **fields))
