"""What could have hidden: told per stage in units, and large in half precisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.lockstep.runs import Setup, run
from workbench.judge.hidden import Hidden, joined, sentence
from workbench.view.condition import nothing_found


def test_gaps_of_logarithms_are_in_nat_and_others_are_shares() -> None:
    allowances, sizes = np.array([0.1, 0.3, np.nan, 0.2]), np.array([10.0, 10.0, 10.0, 0.0])
    logits, rows = Hidden.of("logits", allowances, sizes), Hidden.of("kv", allowances, sizes)
    assert logits is not None
    assert rows is not None
    assert (logits.rows, logits.typical, logits.largest, logits.unit) == (3, 0.2, 0.3, "nat")
    assert (rows.rows, rows.typical, rows.largest) == (2, pytest.approx(0.02), pytest.approx(0.03))
    assert Hidden.of("kv", np.array([np.nan]), np.ones(1)) is None


def test_steps_are_joined() -> None:
    one, two = Hidden(3, 0.1, 0.5, "nat"), Hidden(5, 0.3, 0.4, "nat")
    both = joined({"verify.logits": one}, {"verify.logits": two, "draft.kv": two})
    assert both["draft.kv"] == two
    assert both["verify.logits"] == Hidden(8, 0.2, 0.5, "nat", 2)


@pytest.mark.parametrize(("dtype", "advised"), [("float32", False), ("bfloat16", True), ("float16", True)])
def test_a_run_says_what_could_have_hidden_and_advises_float32(
    tmp_path: Path, dtype: str, advised: bool
) -> None:
    hidden = run(tmp_path / "run", Setup(dtype=dtype)).verdict.hidden
    assert {"prefill.logits", "draft.draft_logprobs", "verify.logits", "verify.kv"} <= set(hidden)
    told = sentence(hidden, dtype)
    assert ("--dtype float32" in told) is advised
    assert f"verify logits {hidden['verify.logits'].typical:.2g} nat" in told


def test_the_screen_says_it_beside_the_verdict() -> None:
    hidden = "gaps of verify logits 0.8 nat"
    told = nothing_found({"verdict": "ok", "remark": "rests on all", "could_hide": hidden}).text
    assert (
        told == "nothing was found in this run: ok (rests on all); could hide: gaps of verify logits 0.8 nat"
    )
    assert "hide" not in nothing_found({"verdict": "ok"}).text
