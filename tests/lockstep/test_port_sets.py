"""Which stages of a partial port make sense together, and what a factory must make; the rest is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lockstep.hostile_runs import Runs, require_found
from tracing.errors import UsageError
from tracing.moment import STAGES
from tracing.settings import MAX_TREE_NODES, DecodeSettings
from tracing.stages import DecodePath, Stages
from workbench.lockstep.session.ports import NEEDS, checked_path

DOCUMENT = Path(__file__).parents[2] / "docs" / "port.md"


def port(*stages: str, **members: Any) -> DecodePath:
    made = Stages(**dict.fromkeys(stages, print))
    return DecodePath(**{"name": "port", "stages": made, "begin": print} | members)


@pytest.mark.parametrize(
    "stages",
    [
        *(STAGES, ("accept",), ("tensorize",), ("tensorize", "accept"), ("prefill",), ("prefill", "accept")),
        *(("prefill", "draft", "commit"), ("prefill", "verify", "commit"), ("prefill", "verify", "accept")),
    ],
)
def test_sets_that_can_work_are_taken(stages: tuple[str, ...]) -> None:
    assert checked_path("m:f", port(*stages))


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (("draft",), "draft and no prefill: its state would never be told the prompt"),
        (("verify", "commit"), "verify and no prefill"),
        (("prefill", "verify"), "no commit or accept: its state would never be told what was accepted"),
        (("prefill", "draft"), "draft and no commit or accept"),
        (("commit",), "commit and no prefill"),
        (("prefill", "commit"), "no draft or verify: there is nothing that it could commit"),
    ],
)
def test_sets_that_cannot_work_are_refused_with_the_reason(stages: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        checked_path("m:f", port(*stages))


def test_every_set_is_taken_or_refused_in_one_sentence() -> None:
    for size in range(1, len(STAGES) + 1):
        for stages in combinations(STAGES, size):
            fits = all(set(group) & set(stages) for stage in stages for group in NEEDS[stage])
            if fits:
                checked_path("m:f", port(*stages))
                continue
            with pytest.raises(UsageError, match="or leave"):
                checked_path("m:f", port(*stages))


def test_the_table_of_the_guide_is_that_of_the_code() -> None:
    table = {
        cells[1].strip(): cells[2].strip()
        for cells in (line.split("|") for line in DOCUMENT.read_text().splitlines())
        if len(cells) == 5
    }
    for stage, groups in NEEDS.items():
        assert table[stage] == (", and ".join(" or ".join(group) for group in groups) or "-")


@pytest.mark.parametrize(
    "members",
    [
        *({"name": 3}, {"stages": None}, {"stages": Stages(accept=3)}, {"begin": None}, {"kv_rows": 3}),  # type: ignore[arg-type]
        *({"lacks": 3}, {"lacks": frozenset({"nothing"})}, {"info": []}, {"info": {"a": object()}}),
        *({"info": {"kv_capacity": "many"}}, {"info": {"a": float("nan")}}, {"snapshot": "yes"}),
    ],
)
def test_members_of_another_kind_are_refused_by_name(members: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(members))):
        checked_path("m:f", port("accept", **members))


def test_trees_are_bounded() -> None:
    DecodeSettings(tree_nodes=MAX_TREE_NODES)
    with pytest.raises(UsageError, match="at most 4096"):
        DecodeSettings(tree_nodes=1_000_000)


def test_one_node_too_many_and_a_search_without_levels_are_findings_of_the_draft(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    runs = Runs(tmp_path_factory.mktemp("drafts"))

    def longer(sound: Any, given: Any) -> Any:
        made = sound(*given)
        again = {name: np.append(getattr(made, name), getattr(made, name)[-1:]) for name in PER_NODE}
        return replace(made, **again)

    ended = runs.misbehaving("draft", longer)
    require_found(ended, "draft")
    ended = runs.misbehaving("draft", lambda sound, given: replace(sound(*given), levels=()))
    assert ended.code in {0, 1}


PER_NODE = ("token_ids", "parents", "depths", "logprobs", "flat_ids")
