"""What `specwb bench` was asked for, read from its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracing.errors import UsageError
from tracing.settings import PROPOSERS
from workbench.bench.studies import NEEDS, OF_INT4, STUDIES
from workbench.cli.bench_words import parse_auto, parse_drafts, parse_proposers, parse_studies


def test_proposers_are_listed_in_one_order() -> None:
    assert parse_proposers(()) == ("eagle3",)
    assert parse_proposers(("auto,lookup", "eagle3")) == ("eagle3", "lookup", "auto")
    assert parse_proposers(("all",)) == (*PROPOSERS, "auto")
    with pytest.raises(UsageError, match="got 'mtp'"):
        parse_proposers(("mtp",))


def test_a_directory_belongs_to_its_kind() -> None:
    assert parse_drafts(("a=b/c",), ("medusa",)) == {"medusa": "a=b/c"}
    assert parse_drafts(("medusa=m", "eagle3=e"), ("eagle3", "medusa")) == {"medusa": "m", "eagle3": "e"}
    assert parse_drafts(("medusa=m,eagle3=e",), ("auto",)) == {"medusa": "m", "eagle3": "e"}
    for words, proposers in (
        (("d",), ("eagle3", "medusa")),
        (("medusa=m",), ("eagle3",)),
        (("d",), ("auto",)),
    ):
        with pytest.raises(UsageError, match="--draft"):
            parse_drafts(words, proposers)
    with pytest.raises(UsageError, match="twice"):
        parse_drafts(("medusa=m", "medusa=n"), ("medusa",))


def test_all_studies_are_those_that_can_be_made() -> None:
    general = tuple(name for name in STUDIES if name not in NEEDS and name not in OF_INT4)
    assert parse_studies(("all",), ("lookup",)) == general
    assert set(parse_studies(("all",), ("eagle3", "medusa"))) == set(STUDIES) - set(OF_INT4)
    with pytest.raises(UsageError, match="--study budget needs --proposer eagle3 or draft_model"):
        parse_studies(("budget",), ("lookup",))


def test_a_policy_goes_with_auto() -> None:
    given = {"policy": "p", "measured": None, "weights": "as-is"}
    assert parse_auto(given, ("auto",)) == {"policy": Path("p"), "measured": None}
    with pytest.raises(UsageError, match="--policy goes with"):
        parse_auto(given, ("eagle3",))
    with pytest.raises(UsageError, match="weights of its policy's teachers as they are"):
        parse_auto({**given, "weights": "w4a16"}, ("auto",))
