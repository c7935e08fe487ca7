"""A dense teacher with experts: written, loaded again, and its drafter goes on working."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.pairs import tiny_pair
from tracing.errors import UsageError
from tracing.models import Experts
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.upcycled import with_experts, write_with_experts
from workbench.faults.files import export_tiny

EXPERTS = Experts(num_experts=6, num_groups=2, width=8, shared_width=1)


def test_a_written_teacher_loads_with_its_drafter(tmp_path: Path) -> None:
    teacher, drafter = export_tiny(tmp_path)
    write_with_experts(teacher, tmp_path / "experts", EXPERTS, seed=1)
    loaded = load_pair(tmp_path / "experts", drafter)
    dense = load_pair(teacher, drafter).pair
    assert loaded.pair.teacher.experts == replace(EXPERTS, shared_width=dense.teacher.intermediate_size)
    assert {check.status for check in loaded.report.checks} <= {"ok"}
    for name in ("up_proj", "down_proj"):
        shared = loaded.pair.teacher_weights[f"model.layers.3.mlp.shared_expert.{name}.weight"]
        assert torch.equal(shared, dense.teacher_weights[f"model.layers.3.mlp.{name}.weight"])


def test_what_such_a_teacher_cannot_have_is_refused() -> None:
    pair = tiny_pair(3, "PanguEmbedded", head_dim=16)
    grown, weights = with_experts(pair.teacher, pair.teacher_weights, EXPERTS)
    with pytest.raises(UsageError, match="dense teacher"):
        with_experts(grown, weights, EXPERTS)
    with pytest.raises(UsageError, match="no window"):
        with_experts(replace(pair.teacher, sliding_window=4), pair.teacher_weights, EXPERTS)
