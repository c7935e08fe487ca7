"""Laws of the float rule: rows, not tensors; a permutation never looks equal; noise is numeric."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.judge.support import ROUNDING, changed, quantity, rounded
from tracing.errors import UsageError
from tracing.moment import Moment
from workbench.judge.allowance import EPSILON
from workbench.judge.notes import Notes
from workbench.judge.row_truth import RowTruth
from workbench.judge.rows import judge_rows

NUM_ROWS, WIDTH = 12, 32


def judged(rows: RowTruth | None, dtype: str = "float32", valid: Any = None, named: bool = True) -> Notes:
    notes = Notes(Moment(0), "verify", dtype)
    nodes = np.ones(4096, dtype=bool) if valid is None else valid
    judge_rows(notes, "JUDGE-VERIFY-LOGITS", "logits", rows, valid=nodes if named else None)
    return notes


def half_quantity(rng: np.random.Generator, dtype: str) -> RowTruth:
    truth = (rng.normal(size=(NUM_ROWS, WIDTH)) * 3).astype(np.float32)
    size = EPSILON[dtype]
    return RowTruth(
        fused=rounded(rng, truth, size),
        truth=truth,
        samples=tuple(rounded(rng, truth, size) for _ in range(2)),
    )


@given(st.integers(0, 100_000), st.sampled_from(["float32", "bfloat16", "float16"]))
def test_honest_rounding_passes(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    rows = quantity(rng, (NUM_ROWS, WIDTH)) if dtype == "float32" else half_quantity(rng, dtype)
    notes = judged(rows, dtype)
    assert notes.findings == []
    assert notes.checked["verify.logits"] == 1


@given(
    st.integers(0, 100_000),
    st.sampled_from(["float32", "bfloat16", "float16"]),
    st.tuples(st.integers(0, NUM_ROWS - 1), st.integers(0, NUM_ROWS - 1)).filter(
        lambda pair: pair[0] != pair[1]
    ),
)
def test_two_rows_that_changed_places_are_always_found(seed: int, dtype: str, pair: tuple[int, int]) -> None:
    """Means, norms and maxima of the whole tensor stay the same; the commonest tree bug."""
    rng = np.random.default_rng(seed)
    rows = quantity(rng, (NUM_ROWS, WIDTH)) if dtype == "float32" else half_quantity(rng, dtype)
    order = np.arange(NUM_ROWS)
    order[list(pair)] = order[list(pair)[::-1]]
    findings = judged(replace(rows, fused=rows.fused[order]), dtype).findings
    assert [finding.moment.node for finding in findings] == sorted(pair)
    assert {finding.rule for finding in findings} == {"JUDGE-ROW-MOVED"}
    assert f"row of node {pair[0]}" in findings[0].message + findings[1].message


@given(st.integers(0, 100_000), st.floats(60, 10_000))
def test_noise_beyond_the_allowance_is_numeric(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    rows = quantity(rng, (NUM_ROWS, WIDTH))
    noisy = rows.fused + scale * ROUNDING * rng.normal(size=rows.fused.shape)
    findings = judged(replace(rows, fused=noisy)).findings
    assert {finding.rule for finding in findings} == {"JUDGE-VERIFY-LOGITS"}
    assert {finding.verdict for finding in findings} == {"numeric"}
    assert all(finding.gap > finding.allowance for finding in findings)


def test_noise_as_large_as_the_row_is_another_row() -> None:
    rng = np.random.default_rng(1)
    rows = quantity(rng, (NUM_ROWS, WIDTH))
    other = rows.fused.copy()
    other[5] = rng.normal(size=WIDTH) * 3
    (finding,) = judged(replace(rows, fused=other)).findings
    assert (finding.moment.node, finding.verdict, finding.rule) == (
        5,
        "structural",
        "JUDGE-VERIFY-LOGITS",
    )
    assert "another position, row or tap" in finding.message


def test_exactly_at_the_allowance_passes_and_just_beyond_fails() -> None:
    truth = np.full((1, 4), 8.0)
    sample = truth + np.array([[0.5, 0, 0, 0]])
    allowance = 12 * 0.5 + 4 * 2.0**-20
    at, beyond = truth.copy(), truth.copy()
    at[0, 1] += allowance
    beyond[0, 1] = np.nextafter(truth[0, 1] + allowance, np.inf)
    assert judged(RowTruth(fused=at, truth=truth, samples=(sample,))).findings == []
    (finding,) = judged(RowTruth(fused=beyond, truth=truth, samples=(sample,))).findings
    assert finding.verdict == "numeric"
    assert finding.allowance == allowance


def test_one_wrong_row_of_two_thousand_is_named() -> None:
    """Measured elsewhere: such a row leaves cosine 0.9995 and passes whole-tensor thresholds."""
    rng = np.random.default_rng(2)
    rows = quantity(rng, (2048, 16))
    (finding,) = judged(
        replace(rows, fused=changed(rows.fused, (1234, 3), rows.fused[1234, 3] + 1e-3))
    ).findings
    assert finding.moment.node == 1234
    assert finding.fused == pytest.approx(float(rows.fused[1234, 3]) + 1e-3, abs=1e-6)


def test_a_wrong_row_cannot_hide_behind_one_huge_element() -> None:
    """Massive activations set the row's scale: half types then allow the largest error everything else."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(NUM_ROWS, 512)).astype(np.float32)
    truth[:, 7] = 400.0
    noise = [np.where(truth == 400.0, 2.0, 0.004) * rng.uniform(-1, 1, truth.shape) for _ in range(3)]
    honest = RowTruth(fused=truth + noise[0], truth=truth, samples=(truth + noise[1], truth + noise[2]))
    assert judged(honest, "bfloat16").findings == []
    order = np.roll(np.arange(NUM_ROWS), 1)
    moved = judged(replace(honest, fused=honest.fused[order]), "bfloat16").findings
    assert {finding.moment.node for finding in moved} >= set(range(8))
    assert {finding.rule for finding in moved} == {"JUDGE-ROW-MOVED"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sides", [("fused",), ("truth",), ("fused", "truth")])
def test_nan_and_inf_fail_on_either_side(bad: float, sides: tuple[str, ...]) -> None:
    rows = quantity(np.random.default_rng(4), (NUM_ROWS, WIDTH))
    for side in sides:
        rows = replace(rows, **{side: changed(getattr(rows, side), (3, 5), bad)})
    (finding,) = judged(rows).findings
    assert (finding.rule, finding.verdict, finding.moment.node) == ("JUDGE-NONFINITE", "numeric", 3)
    assert finding.guilty == {("fused",): "fused", ("truth",): "reference"}.get(sides, "both")


def test_pads_are_not_rows() -> None:
    rows = quantity(np.random.default_rng(5), (NUM_ROWS, WIDTH))
    valid = np.arange(NUM_ROWS) < 9
    assert judged(replace(rows, fused=changed(rows.fused, 9, np.nan)), valid=valid).findings == []
    assert judged(replace(rows, fused=changed(rows.fused, 8, np.nan)), valid=valid).findings != []
    none = judged(rows, valid=np.zeros(NUM_ROWS, dtype=bool))
    assert none.not_checked[0].reason == "no valid row"


def test_rows_keep_their_names() -> None:
    rows = quantity(np.random.default_rng(6), (3, WIDTH))
    named = replace(rows, rows=np.array([4, 7, 9]), fused=changed(rows.fused, (1, 0), 50.0))
    assert [finding.moment.node for finding in judged(named).findings] == [7]


def test_keys_and_values_name_the_first_layer_that_is_off() -> None:
    rows = quantity(np.random.default_rng(7), (4, 2, 2, NUM_ROWS, 8))
    fused = rows.fused.copy()
    fused[2, 1, 1, 5, 3] += 0.01
    fused[3, 0, 0, 5, 3] += 0.01
    (finding,) = judged(replace(rows, fused=fused)).findings
    assert finding.moment.node == 5
    assert finding.message.startswith("V of layer 2 at node 5 is off by 0.01")


def test_positions_share_one_finding_that_counts_them() -> None:
    rows = quantity(np.random.default_rng(8), (NUM_ROWS, WIDTH))
    (finding,) = judged(replace(rows, fused=rows.fused + 1.0), named=False).findings
    assert finding.moment.node is None
    assert "position 0" in finding.message
    assert f"and {NUM_ROWS - 1} more of {NUM_ROWS} rows" in finding.message


def test_many_wrong_nodes_are_counted_not_dropped() -> None:
    rows = quantity(np.random.default_rng(9), (NUM_ROWS, WIDTH))
    findings = judged(replace(rows, fused=rows.fused + 0.1)).findings
    assert len(findings) == 8
    assert f"and {NUM_ROWS - 8} more of {NUM_ROWS} rows" in findings[-1].message


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"fused": None}, "the path does not provide it"),
        ({"truth": None}, "the reference does not provide it"),
        ({"samples": ()}, "no result of the reference at float32, hence no allowance"),
    ],
)
def test_what_is_missing_is_not_checked(broken: dict[str, Any], reason: str) -> None:
    notes = judged(replace(quantity(np.random.default_rng(10), (2, WIDTH)), **broken))
    assert not notes.checked
    assert [each.reason for each in notes.not_checked] == [reason]
    assert judged(None).not_checked[0].quantity == "logits"


def test_a_truth_no_better_than_the_patient_is_no_truth() -> None:
    rows = quantity(np.random.default_rng(11), (2, WIDTH))
    notes = judged(replace(rows, truth=rows.truth.astype(np.float32)))
    assert not notes.checked
    assert "should be float64" in notes.not_checked[0].reason


def test_a_row_whose_samples_overflow_is_reported_as_unjudged() -> None:
    rng = np.random.default_rng(12)
    rows = half_quantity(rng, "float16")
    lost = tuple(changed(sample, (2, 0), np.inf) for sample in rows.samples)
    notes = judged(replace(rows, samples=lost, fused=changed(rows.fused, (2, 1), 9.0)), "float16")
    assert notes.findings == []
    assert "1 row(s) where the reference itself overflows" in notes.not_checked[0].reason


def test_a_reference_that_does_not_fit_together_is_an_error_of_ours() -> None:
    rows = quantity(np.random.default_rng(13), (3, WIDTH))
    with pytest.raises(UsageError, match="samples"):
        judged(replace(rows, samples=(rows.samples[0][:2],)))
    with pytest.raises(UsageError, match="rows should name 3 rows"):
        judged(replace(rows, rows=np.array([1, 2])))
    with pytest.raises(UsageError, match=r"\[layers, 2, kv_heads, R, D\]"):
        judged(
            replace(
                rows,
                fused=np.ones((1, 1, 3, 2)),
                truth=np.ones((1, 1, 3, 2)),
                samples=(np.ones((1, 1, 3, 2)),),
            )
        )


@pytest.mark.parametrize(
    ("third", "guilty"), [("truth", "fused"), ("fused", "reference"), ("neither", "both"), (None, "unknown")]
)
def test_the_arbiter_names_the_guilty_path(third: str | None, guilty: str) -> None:
    rows = quantity(np.random.default_rng(14), (NUM_ROWS, WIDTH))
    wrong = replace(rows, fused=changed(rows.fused, (6, 2), rows.fused[6, 2] + 0.5))
    value = {"truth": wrong.truth[6], "fused": wrong.fused[6], "neither": wrong.truth[6] + 3.0}.get(
        third or ""
    )
    (finding,) = judged(replace(wrong, arbiter={} if value is None else {6: value})).findings
    assert finding.guilty == guilty


def test_the_arbiter_of_keys_and_values_is_taken_by_layer() -> None:
    rows = quantity(np.random.default_rng(15), (3, 2, 2, NUM_ROWS, 8))
    fused = rows.fused.copy()
    fused[1, 0, 1, 4, 2] += 0.01
    arbiter = {4: rows.truth[:, :, :, 4]}
    (finding,) = judged(replace(rows, fused=fused, arbiter=arbiter)).findings
    assert finding.guilty == "fused"
