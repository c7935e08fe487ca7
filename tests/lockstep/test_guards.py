"""What must never crash the workbench: a port whose arrays do not fit, or that raises when asked again."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.lockstep.runs import Setup, run
from tests.lockstep.test_free_validation import alone
from tracing.errors import EnvironmentProblemError, UsageError
from tracing.reader import open_run
from tracing.stages import DecodePath, Stages, Tensorized, Verified
from workbench.judge.ancestry import ancestors
from workbench.lockstep.session.ports import checked_path, load_factory

ROOT = Path(__file__).resolve().parents[2]


def test_arrays_that_do_not_fit_together_are_a_finding(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def verify(state: object, tensorized: Tensorized) -> Verified:
            made = stages.verify(state, tensorized)
            return replace(made, target_token_ids=made.target_token_ids[:5])

        return replace(stages, verify=verify)

    outcome = run(tmp_path / "run", fused=faulty)
    assert outcome.verdict.exit_code == 1
    assert outcome.first.guilty == "fused"


def test_a_port_that_raises_when_asked_again_keeps_its_finding(tmp_path: Path) -> None:
    calls = iter(range(100))

    def faulty(stages: Stages) -> Stages:
        def verify(state: object, tensorized: Tensorized) -> Verified:
            if next(calls) > 0:
                raise RuntimeError("once only")
            made = stages.verify(state, tensorized)
            return replace(made, logits=made.logits + 1)

        return replace(stages, verify=verify)

    outcome = run(tmp_path / "run", fused=faulty)
    assert (outcome.first.moment.stage, outcome.first.column) == ("verify", "logits")
    assert any("once only" in missing.reason for missing in outcome.verdict.not_checked)


def test_a_token_that_the_reference_cannot_be_fed_is_a_finding_and_is_recorded(tmp_path: Path) -> None:
    """A -1 that would wrap: recorded as it is, found, and not fed to the reference."""

    def faulty(stages: Stages) -> Stages:
        def tensorize(state: object, drafted: object) -> Tensorized:
            made = stages.tensorize(state, drafted)
            tokens = made.token_ids.copy()
            tokens[4] = -1
            return replace(made, token_ids=tokens)

        return replace(stages, tensorize=tensorize)

    outcome = run(tmp_path / "run", Setup(options={"on_violation": "launch"}), fused=faulty)
    assert outcome.verdict.exit_code == 1
    assert outcome.first.moment.stage == "tensorize"
    assert outcome.first.moment.node == 4
    assert open_run(outcome.folder).path("fused").step(0)["token_ids"][4] == -1


def test_no_state_copy_means_that_nondeterminism_is_not_judged(tmp_path: Path) -> None:
    def without(path: DecodePath) -> DecodePath:
        return replace(path, snapshot=None)

    assert run(tmp_path / "run", path=without).log.findings == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nothing", "module:factory"), ("no_such:thing", "cannot import"), ("json:nothing", "no callable")],
)
def test_a_factory_that_is_not_there(name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load_factory(name)


def test_a_factory_that_makes_something_else() -> None:
    with pytest.raises(UsageError, match="DecodePath"):
        checked_path("m:f", object())
    empty = DecodePath(name="x", stages=Stages(), begin=lambda watch: watch)
    with pytest.raises(UsageError, match="without a single stage"):
        checked_path("m:f", empty)


def test_a_command_whose_extra_is_missing_names_it() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import specwb; specwb.house()\n"
        "from workbench.cli.run import run_command\n"
        "sys.exit(run_command(['diff', '--prompt', 'README.md']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 3
    assert "specwb[decode]" in done.stderr


def test_the_path_of_a_node_ends_even_if_parents_run_in_a_circle() -> None:
    assert len(ancestors(np.array([0, 2, 1]), 1)) <= 3


def test_the_weights_are_watched(tmp_path: Path) -> None:
    """A path that writes into the shared weights is noticed by their digest."""
    from workbench.checkpoints.digests import weights_digest

    pair = Setup().pair
    before = weights_digest(pair.teacher_weights)
    name = next(iter(pair.teacher_weights))
    with torch.no_grad():
        pair.teacher_weights[name].view(-1)[0] += 1
    assert weights_digest(pair.teacher_weights) != before


def test_a_problem_of_the_machine_inside_a_stage_is_no_finding(tmp_path: Path) -> None:
    """Blamed on the path under test, a full disk ended a judged run with exit code 1 and not 3."""
    problem = EnvironmentProblemError("the disk is full")

    def raising(*_: object) -> None:
        raise problem

    with pytest.raises(type(problem), match=str(problem)):
        run(tmp_path / "staged", fused=lambda stages: replace(stages, verify=raising))
    with pytest.raises(type(problem), match=str(problem)):
        alone(tmp_path / "free", "verify", raising)
