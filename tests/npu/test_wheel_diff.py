"""`specwb diff` in bfloat16 through the real torch_npu over the stub, contiguous and paged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.pair_dirs import write_pair
from tracing.reader import open_run
from workbench.checkpoints.shipped import shipped_prompt

pytestmark = pytest.mark.wheel
Runner = Callable[..., subprocess.CompletedProcess[str]]
OPERATOR = "npu_fused_infer_attention_score BSND sparse_mode=0 mask=bool[1, 1, 16, "
TREE = ("--tree-nodes", "16", "--depth", "3", "--top-k", "4", "--max-new-tokens", "12")


@dataclass(frozen=True)
class Decoded:
    """What a run said and recorded."""

    said: dict[str, Any]
    manifest: dict[str, Any]
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """Options that name a pair: random weights of head dim 16, and the shipped pair of head dim 64."""
    folder = tmp_path_factory.mktemp("pair")
    teacher, drafter = write_pair(folder)
    prompt = folder / "prompt.txt"
    prompt.write_text("the words of the text and the end of the words", encoding="utf-8")
    return {
        "synthetic": ("--prompt", str(prompt), "--model", str(teacher), "--draft", str(drafter)),
        "shipped": ("--prompt", str(shipped_prompt("code.txt"))),
    }


@pytest.fixture
def diff(run_python: Runner, wheel_site: Path, tmp_path: Path) -> Callable[..., Decoded]:
    """Run the command in a process that has the wheel, warnings as errors."""

    def run(*options: str, backend: str = "wheel") -> Decoded:
        common = (
            "--dtype",
            "bfloat16",
            "--npu-backend",
            backend,
            "--format",
            "json",
            "--out",
            str(tmp_path / "run"),
        )
        done = run_python("-m", "specwb", "diff", *common, *TREE, *options, site=wheel_site)
        assert done.returncode == 0, done.stdout + done.stderr[-2000:]
        recorded = open_run(tmp_path / "run")
        return Decoded(json.loads(done.stdout), dict(recorded.manifest), list(recorded.path("fused")))

    return run


@pytest.mark.parametrize(
    ("pair", "layout"),
    [
        ("synthetic", ("contiguous",)),
        ("synthetic", ("paged", "--block-size", "128")),
        ("shipped", ("contiguous",)),
        ("shipped", ("paged", "--block-size", "16")),
    ],
    ids=lambda part: part if isinstance(part, str) else "-".join(part).replace("---block-size", ""),
)
def test_diff_runs_its_fused_path_through_the_wheel(
    pair: str, layout: tuple[str, ...], diff: Callable[..., Decoded], models: dict[str, tuple[str, ...]]
) -> None:
    """Bug: attention silently eager, or emulations called beside the wheel: `ok` says nothing of it then."""
    run = diff(*models[pair], "--kv-layout", *layout)
    assert run.said["verdict"] in {"ok", "near_tie"}
    assert run.said["first_divergence"] is None
    coverage = run.said["coverage"]
    assert run.said["near_ties"] == coverage["choice_near_ties"] + coverage["tree_near_ties"]
    assert len(run.said["emitted_token_ids"][0]) == 12
    assert run.manifest["backend"]["name"] == "wheel"
    assert run.manifest["backend"]["torch_npu"] == "2.13.0"
    path = run.manifest["paths"]["fused"]["info"]
    assert (path["dtype"], path["switches"]["eager"]) == ("bfloat16", [])
    assert (path["switches"]["fused_prefill"], path["switches"]["fused_tree"]) == (True, True)
    ending = f"paged block_size={layout[2]} via wheel" if layout[0] == "paged" else "] via wheel"
    assert run.rows
    for row in run.rows:
        assert row["kernel"].startswith(OPERATOR)
        assert row["kernel"].endswith(ending)
        assert (row["slots"] is not None) == (layout[0] == "paged")


def test_another_way_is_told_apart(diff: Callable[..., Decoded], models: dict[str, tuple[str, ...]]) -> None:
    """What the test above relies on: beside the same wheel, the pinned schemas leave other words."""
    run = diff(*models["synthetic"], "--max-new-tokens", "3", backend="schemas")
    assert run.manifest["backend"]["name"] == "schemas"
    assert all(row["kernel"].endswith(" via schemas") for row in run.rows)
