"""`specwb check` on a staged run: what both paths were fed the same values for is the same in both rows.

Catches a value spoiled on its way into the trace that no law of one path alone can see: a rejected token, a
beam that grew no node, a row of logits in another row's place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Specwb
from tests.cli.rewrite import rewrite
from tracing.copying import OWNED_BY_WRITER
from tracing.reader import open_run
from tracing.recorder import RunWriter
from workbench.judge.recorded.check import check_run
from workbench.judge.recorded.pairs import EQUAL
from workbench.report import json as json_report
from workbench.report import junit, sarif

CLEAN = Path(__file__).parents[2] / "traces" / "clean"
STEP = 3
Row = dict[str, Any]


def spoiled(target: Path, change: Callable[[Row], None], *, path: str = "fused", **manifest: Any) -> Path:
    def in_step(name: str, row: Row) -> Row:
        if (name, row["step"]) == (path, STEP):
            change(row)
        return row

    return rewrite(CLEAN, target, in_step, **manifest)


def another(column: str) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        value = row[column]
        if not isinstance(value, np.ndarray):
            row[column] = "other" if isinstance(value, str) else value + 1
            return
        row[column] = value.copy()
        row[column].flat[-1] = ~value.flat[-1] if value.dtype == bool else value.flat[-1] + 1

    return change


def found_of(folder: Path) -> list[tuple[str, str, int, str]]:
    """Rule, column, step and guilty side of what the comparison says; invariants may speak as well."""
    compared = check_run(folder).compared
    assert compared is not None
    return [(each.rule, each.column, each.moment.step, each.guilty) for each in compared.findings]


@pytest.mark.parametrize("path", ["fused", "reference"])
@pytest.mark.parametrize("column", [name for name in EQUAL if name != "context_token_ids"])
def test_a_column_that_differs_is_found_in_its_step(tmp_path: Path, column: str, path: str) -> None:
    folder = spoiled(tmp_path / "run", another(column), path=path)
    assert ("JUDGE-PATHS-COLUMN", column, STEP, "unknown") in found_of(folder)


@pytest.mark.parametrize("path", ["fused", "reference"])
def test_a_null_against_a_distance_is_found(tmp_path: Path, path: str) -> None:
    """A distance of a node that was not expanded, or none for one that was."""

    def hidden(row: Row) -> None:
        row["draft_top1_offsets"] = row["draft_top1_offsets"].copy()
        row["draft_top1_offsets"][0] = np.ma.masked

    compared = check_run(spoiled(tmp_path / "run", hidden, path=path)).compared
    assert compared is not None
    (found,) = compared.findings
    assert (found.rule, found.column, found.moment.node) == ("JUDGE-PATHS-COLUMN", "draft_top1_offsets", 0)
    assert "null" in (found.fused, found.reference)


def test_a_column_that_one_path_does_not_probe_is_no_difference(tmp_path: Path) -> None:
    def unprobed(row: Row) -> None:
        row["draft_top1_offsets"] = None

    folder = spoiled(tmp_path / "run", unprobed, path="reference")
    assert found_of(folder) == []


def test_a_step_that_only_one_path_has_is_named(tmp_path: Path) -> None:
    def renumbered(row: Row) -> None:
        row["prompt_id"] = 9

    folder = spoiled(tmp_path / "run", renumbered, path="reference")
    assert found_of(folder) == [("JUDGE-ALIGN-MISSING", "step", STEP, "unknown")]


def test_an_end_that_one_path_does_not_tell_is_found(tmp_path: Path) -> None:
    def ended(row: Row) -> None:
        row["stop_reason"] = "length"

    folder = spoiled(tmp_path / "run", ended, path="reference")
    assert found_of(folder) == [("JUDGE-PATHS-COLUMN", "stop_reason", STEP, "unknown")]


def test_what_no_law_of_one_path_sees_is_found_here_alone(tmp_path: Path) -> None:
    """The last node was rejected and has no child: any token would do."""
    (finding,) = check_run(spoiled(tmp_path / "run", another("token_ids"))).findings
    assert (finding.rule, finding.moment.stage, finding.moment.node) == (
        "JUDGE-PATHS-COLUMN",
        "tensorize",
        11,
    )


def rolled(row: Row) -> None:
    for name in ("target_top_ids", "target_top_logits", "target_token_ids"):
        row[name] = np.roll(row[name], 1, axis=0)


def rounded(row: Row) -> None:
    logits = row["target_top_logits"]
    row["target_top_logits"] = (logits.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def without_scores(row: Row) -> None:
    row["draft_logprobs"] = np.zeros_like(row["draft_logprobs"])


def not_a_number(row: Row) -> None:
    row["target_top_logits"] = row["target_top_logits"].copy()
    row["target_top_logits"][2] = np.nan


@pytest.mark.parametrize(
    ("change", "column"),
    [(rolled, "target_top_logits"), (not_a_number, "target_top_logits"), (without_scores, "draft_logprobs")],
)
def test_values_that_no_rounding_explains(tmp_path: Path, change: Callable[[Row], None], column: str) -> None:
    assert ("JUDGE-PATHS-VALUES", column, STEP, "unknown") in found_of(spoiled(tmp_path / "run", change))


def test_values_that_rounding_may_explain_are_not_judged_here(tmp_path: Path) -> None:
    """The near miss: logits cut to bfloat16. Whole rows and samples, as a live run has them, judge that."""
    assert found_of(spoiled(tmp_path / "run", rounded)) == []


def test_a_pad_may_hold_anything(tmp_path: Path) -> None:
    def as_pad(row: Row) -> None:
        row["valid"] = row["valid"].copy()
        row["valid"][-1] = False

    def token(name: str, row: Row) -> Row:
        if row["step"] == STEP:
            as_pad(row)
            if name == "fused":
                another("token_ids")(row)
        return row

    assert found_of(rewrite(CLEAN, tmp_path / "run", token)) == []


def test_a_clean_run_and_a_run_of_paths_on_their_own(specwb: Specwb, tmp_path: Path) -> None:
    clean = specwb("check", CLEAN)
    assert clean.exit_code == 0
    assert "compared    7 steps of both paths, 0 findings in 0 steps" in clean.out
    free = spoiled(tmp_path / "run", another("token_ids"), lockstep="free")
    assert "compared    not: each path lived on its own outputs" in specwb("check", free).out
    selected = specwb("check", CLEAN, "--select", "TREE").out
    assert "compared    not: only the selected invariants were asked for" in selected


def renamed(source: Path, target: Path, names: dict[str, str], **manifest: Any) -> Path:
    """The same run with other names of its paths, in this order."""
    run = open_run(source)
    facts = {key: value for key, value in run.manifest.items() if key not in OWNED_BY_WRITER}
    with RunWriter(target, {**facts, **manifest}) as writer:
        for name, new in names.items():
            entry = run.path(name).entry
            trace = writer.path(new, lacks=entry.get("lacks", ()), info=entry.get("info"))
            for row in run.path(name):
                keys = {key: row.pop(key) for key in ("prompt_id", "turn", "step")}
                with trace.step(**keys) as step:
                    step.record(**{key: value for key, value in row.items() if value is not None})
    return target


@pytest.mark.parametrize(
    "names",
    [
        {"fused": "engine", "reference": "eager"},
        {"fused": "engine", "reference": "reference"},
        {"reference": "reference", "fused": "engine"},
        {"reference": "eager", "fused": "fused"},
    ],
)
def test_paths_of_other_names_are_compared(tmp_path: Path, names: dict[str, str]) -> None:
    clean = check_run(renamed(CLEAN, tmp_path / "clean", names))
    assert clean.findings == ()
    assert clean.compared is not None
    assert (clean.compared.reason, clean.compared.num_steps) == ("", 7)
    wrong = spoiled(tmp_path / "wrong", another("token_ids"))
    (finding,) = check_run(renamed(wrong, tmp_path / "renamed", names)).findings
    assert (finding.rule, finding.path) == ("JUDGE-PATHS-COLUMN", names["fused"])
    assert f"on the {names['fused']} path" in finding.message
    assert f"on the {names['reference']} path" in finding.message


def test_paths_that_are_not_compared_have_a_reason(specwb: Specwb, tmp_path: Path) -> None:
    names = {"fused": "engine", "reference": "eager"}
    alone = renamed(CLEAN, tmp_path / "alone", names, lockstep=None)
    assert "compared    not: the run does not state that one path was fed" in specwb("check", alone).out


def test_every_format_tells_it(specwb: Specwb, tmp_path: Path) -> None:
    folder = spoiled(tmp_path / "run", another("token_ids"))
    answer = specwb("check", folder)
    assert answer.exit_code == 1
    assert "0:0:3:tensorize:11 JUDGE-PATHS-COLUMN structural" in answer.out
    run = check_run(folder)
    said = json.loads(json_report.render_checks([run]))["runs"][0]
    assert said["compared"] == {"reason": "", "steps": 7, "differing": 1, "num_findings": 1}
    assert [each["rule"] for each in said["findings"]] == ["JUDGE-PATHS-COLUMN"]
    assert 'name="both paths record the same"' in junit.render_checks([run])
    assert 'failures="1"' in junit.render_checks([run])
    results = json.loads(sarif.render_checks([run]))["runs"][0]["results"]
    assert [each["ruleId"] for each in results] == ["JUDGE-PATHS-COLUMN"]
    assert specwb("replay", folder).exit_code == 1


def unscored(row: Row) -> None:
    """The score of a token that the draft vocabulary does not have."""
    row["draft_logprobs"] = row["draft_logprobs"].copy()
    row["draft_logprobs"][2] = -np.inf


def leaking(row: Row) -> None:
    row["visible"] = row["visible"].copy()
    row["visible"][1, 2] = True


@pytest.mark.parametrize(("change", "guilty"), [(unscored, "unknown"), (leaking, "reference")])
def test_a_fed_path_is_blamed_for_what_follows_from_its_food_alone(
    tmp_path: Path, change: Callable[[Row], None], guilty: str
) -> None:
    """A lost draft map on the path under test shows in the reference's scores: two rows cannot tell whose."""
    checked = check_run(spoiled(tmp_path / "run", change, path="reference"))
    of_rules = [each for each in checked.findings if each.path == "reference"]
    assert of_rules
    assert {each.guilty for each in of_rules} == {guilty}
    assert checked.exit_code == 1


def test_what_both_rows_break_is_the_fault_of_the_path_under_test(tmp_path: Path) -> None:
    first = spoiled(tmp_path / "first", unscored, path="reference")

    def in_step(name: str, row: Row) -> Row:
        if (name, row["step"]) == ("fused", STEP):
            unscored(row)
        return row

    checked = check_run(rewrite(first, tmp_path / "run", in_step))
    by_path = {
        each.path: (each.guilty, each.consequence) for each in checked.findings if each.rule == "DRAFT001"
    }
    assert by_path == {"fused": ("fused", False), "reference": ("fused", True)}
