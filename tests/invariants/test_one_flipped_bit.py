"""One wrong cell of `visible` is reported once, at its own place, by the rule of that kind of cell."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from invariants.mutation import Case
from invariants.strategies import legal_cases
from tests.invariants.helpers import findings


def expected_rule(case: Case, query: int, key: int) -> str:
    valid, path = case.row["valid"], case.path(query)
    if not (valid[query] and valid[key]):
        return "MASK011"
    if key not in path:
        return "MASK001"
    if key == query:
        return "MASK003"
    return "MASK004" if key == 0 else "MASK002"


@given(legal_cases(min_nodes=2), st.data())
def test_one_flipped_bit_is_reported_exactly_there(case: Case, data: st.DataObject) -> None:
    places = st.integers(0, len(case.row["valid"]) - 1)
    query, key = data.draw(places, "query"), data.draw(places, "key")
    flipped = case.poked("visible", (query, key), not case.row["visible"][query, key])
    (finding,) = findings(flipped)
    assert (finding.rule, finding.moment.node, finding.column) == (
        expected_rule(case, query, key),
        query,
        "visible",
    )
    assert finding.moment.stage == "verify"
    assert finding.fused == (0 if finding.rule in ("MASK003", "MASK004") else str(key))
