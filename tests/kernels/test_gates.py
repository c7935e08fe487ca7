"""What a candidate does is a finding with its case; the workbench goes on; each gate opens the next."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tracing.errors import UsageError
from workbench.kernels.call import CaseResult, call, judge_call
from workbench.kernels.gates import run_gates
from workbench.kernels.judge.own import JudgedOutputs, Refusal
from workbench.kernels.judge.published import PublishedVerdict
from workbench.kernels.kept import judge_kept, keep_manifest
from workbench.kernels.kernel import Draw
from workbench.kernels.operators import KERNELS
from workbench.kernels.planted import PLANTED_BUGS, planted
from workbench.kernels.process.candidates import find
from workbench.kernels.process.limits import Limits
from workbench.kernels.process.native import BuildError, build
from workbench.kernels.reports import Gate, GateOptions, KernelReport
from workbench.kernels.scores import pass_at_k, sampled, scores
from workbench.kernels.text import as_json, exit_code, report_lines

CANDIDATES = Path(__file__).parents[1] / "data/kernels/candidates.py"
SWIGLU = KERNELS["npu_swiglu"]
FEW = ("static-fp32", "width-66")


def run(name: str, *kernels: str, cases: tuple[str, ...] = FEW, **options: Any) -> list[KernelReport]:
    settings = {"measure_s": 0.0, "limits": Limits(call_s=20.0, memory_mib=2048)} | options
    chosen = [KERNELS[one] for one in kernels or ("npu_swiglu",)]
    return list(run_gates(chosen, name, GateOptions(cases=cases, **settings)))


@pytest.fixture(scope="module")
def odd() -> dict[str, CaseResult]:
    """One candidate that does something else in every case; a crash and a hang cost a process each."""
    cases = ("static-fp32", "width-2", "width-62", "width-66", "width-258", "width-2050")
    (report,) = run(f"{CANDIDATES}:odd", cases=cases, limits=Limits(call_s=8.0, memory_mib=2048))
    assert [one.case for one in report.results] == list(cases)
    assert (report.correctness.status, report.performance.status) == ("refused", "not run")
    assert exit_code([report]) == 1
    return {one.case: one for one in report.results}


@pytest.mark.parametrize(
    ("case", "rule", "words"),
    [
        ("width-2", "KERNEL-RAISED", "no such tile"),
        ("width-62", "KERNEL-RAISED", "SystemExit"),
        ("width-66", "KERNEL-CRASHED", "SIGSEGV"),
        ("width-258", "KERNEL-RAISED", "RuntimeError"),
        ("width-2050", "KERNEL-HANGS", "8 s"),
    ],
)
def test_what_a_candidate_does_is_a_finding(
    odd: dict[str, CaseResult], case: str, rule: str, words: str
) -> None:
    (refusal,) = odd[case].judged.refusals
    assert refusal.rule == rule
    assert words in refusal.message


def test_what_a_candidate_prints_disturbs_nobody(odd: dict[str, CaseResult]) -> None:
    assert odd["static-fp32"].passed


def test_all_gates_in_order_and_what_is_kept_is_judged_alike(tmp_path: Path) -> None:
    options = GateOptions(cases=FEW, measure_s=0.01, keep=tmp_path)
    made = list(run_gates([SWIGLU], "own", options))
    keep_manifest(tmp_path, options, made)
    gates = (made[0].build, made[0].correctness, made[0].performance)
    assert [gate.status for gate in gates] == ["passed"] * 3
    assert "6 broken calls refused" in made[0].correctness.message
    assert made[0].timing["pairs"] >= 5
    (kept,) = judge_kept(tmp_path, [])
    assert kept.results == made[0].results
    text = "\n".join(report_lines(made))
    assert "build ok  correct ok  measured ok" in text
    assert as_json(made)["operators"][0]["cases"][0]["passed"]
    damaged = next(tmp_path.glob("*.result"))
    damaged.write_bytes(damaged.read_bytes()[:-4])
    with pytest.raises(UsageError, match="ends before"):
        judge_kept(tmp_path, [])


def test_a_candidate_that_is_not_there_is_a_usage_error() -> None:
    for named in ("no.such.module:f", f"{CANDIDATES}:none", "plain", f"{CANDIDATES.with_name('x.cpp')}:f"):
        with pytest.raises(UsageError, match=r"candidate|has no function"):
            find(named)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_a_source_in_cpp_is_built_called_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = CANDIDATES.with_name("swiglu.cpp")
    (report,) = run(f"{source}:swiglu", cases=("static-fp16", "static-fp32"))
    half, single = report.results
    assert "it returned 7" in half.judged.refusals[0].message
    assert single.passed
    broken = tmp_path / "broken.cpp"
    broken.write_text("int f( {")
    with pytest.raises(BuildError, match="does not compile"):
        build(broken, seconds=60)


def test_every_operator_has_a_planted_bug_and_every_one_is_refused() -> None:
    """Which bug this catches: a judge, an exact result or a set of cases that lets a wrong kernel pass."""
    assert {bug.kernel for bug in PLANTED_BUGS.values()} == KERNELS.keys()
    assert {"nan", "tile", "keys512", "form", "memory"} <= {bug.mistake for bug in PLANTED_BUGS.values()}
    passed = []
    for name, bug in PLANTED_BUGS.items():
        kernel = KERNELS[bug.kernel]
        for case in reversed(kernel.cases):
            result = judge_call(kernel, case, 0, call(kernel, bug.function, case.build(Draw(0))))
            if not result.passed:
                break
        else:
            passed.append(name)
    assert passed == []
    with pytest.raises(UsageError, match="rms-all-nan"):
        planted("rms")


def test_the_table_of_planted_bugs_is_written_and_none_passes() -> None:
    table = (Path(__file__).parents[2] / "docs/kernel-bugs.md").read_text(encoding="utf-8")
    assert [name for name in PLANTED_BUGS if f"| `{name}`:" not in table] == []
    assert f"Of {len(PLANTED_BUGS)} bugs our judge refuses {len(PLANTED_BUGS)}." in table


def test_scores_are_the_published_ones() -> None:
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert pass_at_k(10, 3, 8) == 1.0
    assert pass_at_k(4, 2, 2) == pytest.approx(1 - 1 / 6)
    sound, wrong = JudgedOutputs((), 1), JudgedOutputs((Refusal("KERNEL-VALUE", ""),), 1)
    passes, fails = PublishedVerdict(passed=True), PublishedVerdict(passed=False)
    reports = [
        report("kv_gather", 1, (sound, passes)),
        report("npu_rms_norm", 2, (sound, passes), (sound, fails), (wrong, passes), (wrong, passes)),
    ]
    ours, public = scores(reports, published=False), scores(reports, published=True)
    assert (ours.by_level, public.by_level) == ({1: 100.0, 2: 50.0}, {1: 100.0, 2: 75.0})
    assert public.final == pytest.approx((0.2 * 100 + 0.3 * 75) / 0.5)
    assert sampled(reports) == {}
    assert sampled([*reports, *reports])["kv_gather"] == {"pass@1": 1.0, "pass@2": 1.0}
    assert sampled([*reports, *reports])["npu_rms_norm"] == {"pass@1": 0.0, "pass@2": 0.0}


def report(kernel: str, level: int, *verdicts: tuple[JudgedOutputs, PublishedVerdict]) -> KernelReport:
    results = tuple(CaseResult(kernel, "case", "ordinary", ours, public) for ours, public in verdicts)
    good = all(result.passed for result in results)
    gate = Gate("passed" if good else "refused")
    return KernelReport(
        kernel=kernel, level=level, candidate="c", build=Gate("passed"), correctness=gate, results=results
    )
