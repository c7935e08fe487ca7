"""What doctor says of a machine: capabilities, contradictions and their probes, shadowing folders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tracing.errors import EnvironmentProblemError
from workbench.npu import doctor
from workbench.npu.bootstrap import Backend, bootstrap, current
from workbench.npu.capability import (
    TABLE,
    Capability,
    Platform,
    allowed_features,
    capabilities,
    this_platform,
)
from workbench.npu.contradictions import accepted
from workbench.npu.modes import CAPABILITIES, use_capabilities
from workbench.npu.probes import CONTRADICTIONS, PROBES, run
from workbench.npu.shadowing import PACKAGES, Shadow, shadows

DEVICE = Backend("device", "1 Ascend device(s)", "2.13.0", 1, "Ascend910B3")


class TestCapabilities:
    @pytest.mark.parametrize(
        ("cann", "level"),
        [(None, None), ("7.0", 0), ("8.5.0", 2), ("8.10.1", 2), ("9.1.0", 2), ("9.2", 3), ("10.0", 3)],
    )
    def test_deterministic_level_follows_cann(self, cann: str | None, level: int | None) -> None:
        """Bug: releases compared as text put 8.10 below 8.5, or 10 below 9."""
        assert capabilities(Platform("Ascend910B3", cann))["deterministic_level"].value == level

    @pytest.mark.parametrize(
        ("torch_npu", "value"), [("2.10.0", False), ("2.10", False), ("2.1.0", None), ("2.13.0", None)]
    )
    def test_a_fault_is_bound_to_its_release(self, torch_npu: str, value: bool | None) -> None:
        """Bug: the prefix 2.1 matches 2.10 and 2.13."""
        assert capabilities(Platform("Ascend910B3", "9.1", torch_npu))["mask_q1"].value is value

    @pytest.mark.parametrize(("soc", "value"), [("Ascend910B3", None), ("Ascend310P3", False), (None, None)])
    def test_the_tree_mask_depends_on_the_chip(self, soc: str | None, value: bool | None) -> None:
        assert capabilities(Platform(soc))["tree_mask_gqa"].value is value

    def test_a_release_candidate_counts_as_its_release(self) -> None:
        assert capabilities(Platform(cann="8.1.RC1"))["fia_v1"].value is True

    def test_every_row_has_a_source_and_every_name_a_row_without_conditions(self) -> None:
        assert all(row.source for row in TABLE)
        assert {row.name for row in TABLE} == set(capabilities(Platform()))

    def test_the_emulations_switches_are_in_the_table(self) -> None:
        """Bug: a capability renamed on one side only would never be looked up."""
        assert set(CAPABILITIES) <= {row.name for row in TABLE}

    def test_only_what_the_table_affirms_is_allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Bug: `None`, where the sources contradict each other, or a false row taken for a yes."""
        assert allowed_features(Platform("Ascend910B3", "9.1", "2.13.0")) == frozenset()
        settled = Capability("mask_q1", True, "an experiment", soc="Ascend910B", torch_npu="2.14")
        monkeypatch.setattr("workbench.npu.capability.TABLE", (*TABLE, settled))
        assert allowed_features(Platform("Ascend910B3", "9.1", "2.14.1")) == {"mask_q1"}
        assert allowed_features(Platform("Ascend910B3", "9.1", "2.13.0")) == frozenset()
        with use_capabilities(allowed_features(Platform("Ascend910B3", "9.1", "2.14.1"))):
            pass  # every name that it may return is one that the emulation knows

    def test_this_platform_is_that_of_the_backend(self) -> None:
        taken = bootstrap()
        assert this_platform() == Platform(taken.soc, doctor.cann_version(), taken.torch_npu)

    def test_an_unknown_platform_fulfils_no_condition(self) -> None:
        assert not Capability("x", 1, "s", soc="Ascend910B").holds_on(Platform())
        assert not Capability("x", 1, "s", cann="8.1").holds_on(Platform())
        assert not Capability("x", 1, "s", torch_npu="2.10").holds_on(Platform())


class TestProbes:
    def test_every_contradiction_has_a_probe_claims_with_sources_and_a_followed_claim(self) -> None:
        assert [question.key for question in CONTRADICTIONS] == list(PROBES)
        for question in CONTRADICTIONS:
            assert len({claim.observation for claim in question.claims}) >= 2
            assert question.followed in {claim.observation for claim in question.claims}
            assert all(claim.source for claim in question.claims)

    @pytest.mark.parametrize(
        "key",
        sorted(
            set(PROBES) - {"nbsd_output", "w4_nz_transposed"}
        ),  # formats that the emulation does not cover
    )
    def test_the_emulation_answers_as_the_table_says_it_does(self, key: str) -> None:
        """Runs the experiment itself, on the emulation: a probe that cannot run here is worth little."""
        followed = {question.key: question.followed for question in CONTRADICTIONS}
        with use_capabilities({"mask_q1"} if key == "mask_q1" else ()):
            assert PROBES[key]("cpu") == followed[key]

    def test_without_a_device_nothing_is_run_and_each_says_so(self) -> None:
        def never(key: str, _timeout: float) -> str:
            raise AssertionError(key)

        results = doctor.probe(Backend("schemas", "no device"), run=never)
        assert [result.contradiction for result in results] == list(CONTRADICTIONS)
        assert {result.status for result in results} == {"not run"}
        assert all("needs an Ascend device" in result.observed for result in results)

    def test_outcomes_are_told_apart(self) -> None:
        """Settled for or against what we follow, something nobody claims, and a probe that died."""

        def run(key: str, _timeout: float) -> str:
            if key == "gqa_ratio":
                raise EnvironmentProblemError("probe gqa_ratio ended with exit code -6: aicore exception")
            return {"mask_polarity": "True shows", "lse_off_shape": "(7,)"}.get(key, "refused")

        results = {result.contradiction.key: result for result in doctor.probe(DEVICE, run=run)}
        assert (results["sink_dtype"].status, results["sink_dtype"].agrees) == ("settled", True)
        assert (results["mask_polarity"].status, results["mask_polarity"].agrees) == ("settled", False)
        assert (results["lse_off_shape"].status, results["lse_off_shape"].agrees) == ("open", False)
        assert (results["gqa_ratio"].status, results["gqa_ratio"].agrees) == ("failed", None)
        assert "aicore" in results["gqa_ratio"].observed

    def test_a_kernel_fault_is_no_refusal(self) -> None:
        """Bug: a crash inside the kernel would settle a question as "refused"."""

        def dies() -> None:
            raise RuntimeError("aclrtSynchronizeStream failed, error code is 507015")

        with pytest.raises(RuntimeError, match="507015"):
            accepted(dies)

        def refuses() -> None:
            raise RuntimeError("call aclnnX failed, error code is 161002")

        assert accepted(refuses) == "refused"

    def test_a_probe_that_dies_costs_only_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The real runner: a process of its own; here it dies, because there is no such probe or device."""
        with pytest.raises(EnvironmentProblemError, match="ended with exit code 1: KeyError"):
            run._in_own_process("no_such_probe", 60)
        monkeypatch.setattr(sys, "executable", "/bin/sleep")
        with pytest.raises(EnvironmentProblemError, match="ended with exit code 1"):
            run._in_own_process("lse_off_shape", 60)


class TestExamination:
    def test_this_machine(self) -> None:
        seen = doctor.examine()
        assert seen.backend is current()
        assert seen.no_backend == ""
        assert seen.versions["torch"]
        assert seen.versions["CANN"] is None
        assert seen.drifted == ()
        verified = {statement.what for statement in seen.statements if statement.verified}
        assert "operator calls are checked against the documented contracts" in verified
        assert "results are computed by Ascend kernels" not in verified

    def test_what_a_device_verifies_and_what_not(self) -> None:
        statements = {one.what: one for one in doctor._statements(DEVICE, ("npu::npu_rms_norm",))}
        assert statements["results are computed by Ascend kernels"].verified
        assert not statements["the vendor's contradictions are settled"].verified
        assert (
            "workbench.npu.watch"
            in statements["operator calls are checked against the documented contracts"].how
        )
        drift = statements["operator schemas are the vendor's own"]
        assert not drift.verified
        assert "npu::npu_rms_norm" in drift.how

    def test_no_backend_verifies_nothing(self) -> None:
        assert not any(statement.verified for statement in doctor._statements(None, ()))


class TestShadows:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> dict[str, Path]:
        made = {name: tmp_path / name for name in ("ours", "user", "plain")}
        for name in PACKAGES:
            (made["ours"] / name).mkdir(parents=True)
            (made["ours"] / name / "__init__.py").touch()
        (made["user"] / "tracing").mkdir(parents=True)
        (made["user"] / "tracing" / "__init__.py").touch()
        (made["user"] / "reference.py").touch()
        (made["plain"] / "workbench").mkdir(parents=True)
        return made

    def test_what_comes_first_hides_ours(self, folders: dict[str, Path]) -> None:
        path = [str(folders["user"]), str(folders["ours"])]
        assert shadows(path, folders["ours"], folders["plain"]) == (
            Shadow("tracing", folders["user"] / "tracing", True),
            Shadow("reference", folders["user"] / "reference.py", True),
        )

    def test_what_comes_later_hides_nothing(self, folders: dict[str, Path]) -> None:
        path = [str(folders["ours"]), str(folders["user"])]
        assert shadows(path, folders["ours"], folders["plain"]) == ()

    def test_the_working_folder_would_hide_ours(self, folders: dict[str, Path]) -> None:
        found = shadows([str(folders["ours"])], folders["ours"], folders["user"])
        hidden = {(shadow.package, shadow.hides) for shadow in found}
        assert hidden == {("tracing", False), ("reference", False)}

    def test_a_folder_without_a_package_hides_nothing(self, folders: dict[str, Path]) -> None:
        """Near miss: a plain folder of that name loses against a package later on the path."""
        path = [str(folders["plain"]), str(folders["ours"])]
        assert shadows(path, folders["ours"], folders["plain"]) == ()

    def test_our_own_checkout_as_working_folder_hides_nothing(self, folders: dict[str, Path]) -> None:
        assert shadows(["", str(folders["plain"])], folders["ours"], folders["ours"]) == ()
