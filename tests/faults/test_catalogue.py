"""The catalogue itself: distinct, cited, and expecting only rules that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from invariants.catalogue import BY_ID
from tracing.errors import UsageError
from tracing.moment import STAGES
from workbench.faults import families
from workbench.faults.bench import NEEDS
from workbench.faults.catalogue import BY_HEADING, CATALOGUE, chosen
from workbench.faults.fault import Fault, fault, link
from workbench.faults.placement import Placement, Scene
from workbench.judge.rules import RULES
from workbench.lockstep.engine.user_code import RAISED

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
LOAD_CHECK = re.compile(r"(load|teacher|drafter|pair)\.[a-z0-9_]+\Z")


def test_ids_and_names_are_unique() -> None:
    for values in ([each.id for each in CATALOGUE], [each.name for each in CATALOGUE]):
        assert len(values) == len(set(values))
    assert len(CATALOGUE) >= 50


@pytest.mark.parametrize("fault", CATALOGUE, ids=lambda fault: fault.name)
def test_a_fault_is_complete(fault: Fault) -> None:
    assert NAME.match(fault.name)
    assert fault.need in NEEDS
    assert fault.about.endswith(".")
    assert fault.seen_in
    assert fault.noticed_by
    assert fault.stage in (*STAGES, "load")
    assert fault.common_mode == (fault.stage == "load") == (fault.guilty == "both")
    assert isinstance(fault.place(), Placement)
    assert fault.place() is not fault.place()


def test_each_family_has_one_heading_and_its_own_faults() -> None:
    of_heading = {heading: {fault.family for fault in faults} for heading, faults in BY_HEADING.items()}
    assert all(len(families) == 1 for families in of_heading.values()), of_heading
    assert len(set.union(*of_heading.values())) == len(BY_HEADING)


def test_every_module_of_a_family_is_listed() -> None:
    """One that is not would hide its faults: nothing else imports it."""
    folder = Path(families.__file__).parent
    listed = {Path(str(module.__file__)).name for modules in families.FAMILIES.values() for module in modules}
    assert listed == {path.name for path in folder.glob("*.py")} - {"__init__.py"}


def test_a_decorated_function_states_its_fault_once() -> None:
    @fault("F-X-01", "va#1", stage="draft", noticed_by=("TREE001",))
    def tree_turned_over(made: object, _: Scene) -> object:
        """The tree is
        upside down.

        Details are not part of the summary.
        """
        return made

    assert (tree_turned_over.name, tree_turned_over.family) == ("tree-turned-over", "x")
    assert tree_turned_over.seen_in == ("va#1",)
    assert tree_turned_over.about == "The tree is upside down."


@pytest.mark.parametrize("fault", CATALOGUE, ids=lambda fault: fault.name)
def test_expected_rules_exist(fault: Fault) -> None:
    for rule in fault.noticed_by:
        known = rule in RULES or rule in BY_ID or rule == RAISED or rule.startswith("NPU-")
        assert known or LOAD_CHECK.match(rule), rule


def test_references_lead_somewhere() -> None:
    assert link("va#3300") == "https://github.com/vllm-project/vllm-ascend/issues/3300"
    assert link("ohdearquant/lattice#243") == "https://github.com/ohdearquant/lattice/issues/243"
    assert link("eagle commit 80cd31e") == "eagle commit 80cd31e"


def test_choosing_by_name_id_or_family() -> None:
    assert chosen(()) == CATALOGUE
    assert [fault.name for fault in chosen(["sibling-leak", "F-TREE-01"])] == ["wrong-parent", "sibling-leak"]
    assert {fault.family for fault in chosen(["mask"])} == {"mask"}
    with pytest.raises(UsageError, match="did you mean sibling-leak"):
        chosen(["sibling-leek"])


def test_the_committed_page_is_about_this_catalogue() -> None:
    """Stale when a fault is added, renamed or dropped: run `specwb faults run --shipped` again."""
    page = (Path(__file__).parents[2] / "docs" / "kill-matrix.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (F-[A-Z0-9]+-\d\d) \*\*([a-z0-9-]+)\*\*", page, re.MULTILINE)
    assert sorted(listed) == sorted((fault.id, fault.name) for fault in CATALOGUE)


HAZARDS = {
    "an additive mask is inverted as if it were boolean": ("F-MASK-01", "F-MASK-13"),
    "a boolean mask is added to the scores": ("F-MASK-10",),
    "a list made by repetition shares one module": ("F-MEDUSA-01",),
    "cache positions from the tree's rotary positions": ("F-MEDUSA-08",),
    "another length falls back to causal": ("F-MEDUSA-07",),
    "five heads whatever the file has": ("F-MEDUSA-11",),
    "a mask of the tree alone ignores the prefix": ("F-MEDUSA-10",),
}
"""What a public port of Medusa to an NPU does or may do, and where the catalogue has it."""


@pytest.mark.parametrize("hazard", HAZARDS)
def test_each_hazard_of_the_public_medusa_port_is_a_fault(hazard: str) -> None:
    known = {fault.id for fault in CATALOGUE}
    assert known.issuperset(HAZARDS[hazard])
