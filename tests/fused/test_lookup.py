"""Prompt lookup: both implementations against what the public ones propose, and against each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.drafters.lookup import RULES
from reference.model import ReferenceModels
from tests.greedy import greedy_decode
from tests.lockstep.runs import SMALL, Setup, run
from tests.pairs import tiny_pair
from tracing.errors import UsageError
from tracing.models import ModelPair
from tracing.reader import open_run
from tracing.settings import LOOKUP_RULES, DecodeSettings
from workbench.fused.drafters.lookup import look_up
from workbench.fused.path import make_path

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "prompt_lookup.json").read_text("utf-8"))
"""What transformers 5.24 and vLLM's n-gram proposer appended to 32 sequences."""


def both(rule: str, ids: list[int], settings: DecodeSettings, limit: int, eos: set[int]) -> list[int]:
    fused = look_up(np.array(ids, np.int64), settings, limit, np.array(sorted(eos), np.int64)).tolist()
    assert fused == RULES[rule](ids, settings, limit, eos)
    return [int(each) for each in fused]


@pytest.mark.parametrize("rule", LOOKUP_RULES)
@pytest.mark.parametrize("number", range(len(GOLDEN["cases"])))
def test_the_proposal_is_the_public_one(rule: str, number: int) -> None:
    case: dict[str, Any] = GOLDEN["cases"][number]
    eos = case["eos"]
    settings = DecodeSettings(
        tree_nodes=case["num_pred"] + 1,
        lookup_rule=rule,
        lookup_min=case["min_ngram"],
        lookup_max=case["max_ngram"],
    )
    limit = case["max_model_len"] if rule == "vllm" else case["max_length"]
    stops = set() if eos is None else {eos} if isinstance(eos, int) else set(eos)
    assert both(rule, case["ids"], settings, limit, stops) == case[rule]


@given(
    rule=st.sampled_from(LOOKUP_RULES),
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    count=st.integers(1, 12),
    sizes=st.tuples(st.integers(1, 4), st.integers(0, 3)),
    corner=st.tuples(st.integers(-3, 20), st.sets(st.integers(0, 3), max_size=2)),
)
def test_both_paths_look_up_alike(
    rule: str, ids: list[int], count: int, sizes: tuple[int, int], corner: tuple[int, set[int]]
) -> None:
    (shortest, more), (room, eos) = sizes, corner
    settings = DecodeSettings(
        tree_nodes=count + 1, lookup_rule=rule, lookup_min=shortest, lookup_max=shortest + more
    )
    limit = max(len(ids) + room, 1)
    found = both(rule, ids, settings, limit, eos)
    assert len(found) <= count
    text = " ".join(map(str, ids))
    assert " ".join(map(str, found)) in text


def test_a_longest_n_gram_below_the_shortest_is_refused() -> None:
    with pytest.raises(UsageError, match="lookup_max should be at least lookup_min, 3, got 2"):
        make_path(looking_pair(), DecodeSettings(lookup_rule="vllm", lookup_min=3), device="cpu")


def looking_pair() -> ModelPair:
    pair = tiny_pair(3, head_dim=16)
    return replace(pair, drafter=None, drafter_weights={}, target_from_draft=None, proposer="lookup")


@pytest.mark.parametrize("layout", ["contiguous", "paged"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rule", LOOKUP_RULES)
def test_a_run_is_clean_and_its_text_is_greedy(tmp_path: Path, rule: str, dtype: str, layout: str) -> None:
    settings = replace(SMALL, lookup_rule=rule, kv_layout=layout, block_size=16, tree_nodes=5)
    setup = Setup(looking_pair(), settings, dtype=dtype, prompt=(1, 2, 3, 1, 2))
    outcome = run(tmp_path / "run", setup)
    assert outcome.verdict.verdict in {"ok", "near_tie", "inconclusive"}
    assert outcome.first is None
    rows = list(open_run(outcome.folder).path("fused"))
    assert any(row["valid"].sum() > 1 for row in rows)
    assert {row["proposer"] for row in rows} == {"lookup"}
    if dtype == "float32":
        emitted = [token for row in rows for token in row["emitted_token_ids"].tolist()]
        greedy = greedy_decode(ReferenceModels(setup.pair), setup.prompt, settings.max_new_tokens)
        assert emitted == greedy[-len(emitted) :]
