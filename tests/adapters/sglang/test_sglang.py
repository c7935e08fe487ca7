"""The SGLang recorder on fakes with its exact signatures: it records, and rules name faults."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.adapters.sglang import fake_engine as fake
from tests.cli.conftest import Specwb
from tracing.reader import open_run
from workbench.adapters.sglang import install, plugin, session, signatures
from workbench.adapters.sglang.install import UnsupportedSglangError

ROOT = Path(__file__).parents[3]
Run = Callable[..., tuple[fake.Scheduler, Path]]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Serve three requests under the recorder."""

    def run(
        edit: fake.Edit | None = None,
        bias: torch.Tensor | None = None,
        retracted: dict[int, int] | None = None,
        **options: Any,
    ) -> Any:
        monkeypatch.setattr(fake.HookRegistry, "hooks", {})
        fake.put(monkeypatch)
        recorder = install.install(str(tmp_path / "run"))
        fake.apply_hooks(monkeypatch)
        requests = [
            fake.request("a", [5, 9, 3], 9),
            fake.request("b", [7, 7, 1, 2], 14),
            fake.request("c", [2, 8], 12),
        ]
        scheduler = fake.Scheduler(requests, **options)
        scheduler.edit, scheduler.bias = edit or scheduler.edit, bias
        scheduler.retracted = retracted or {}
        scheduler.serve()
        recorder.close()
        return scheduler, tmp_path / "run"

    return run


def rows_of(run: Path) -> list[dict[str, Any]]:
    return list(open_run(run).path("fused"))


def findings(specwb: Specwb, run: Path) -> dict[str, set[str]]:
    found = json.loads(specwb("check", run, "--format", "json").out)["runs"][0]["findings"]
    by_rule: dict[str, set[str]] = {}
    names = {row["prompt_id"]: row["request_id"] for row in rows_of(run)}
    for each in found:
        by_rule.setdefault(each["rule"], set()).add(names[each["prompt_id"]])
    return by_rule


@pytest.mark.parametrize("mask", ["full", "tree", "packed"])
@pytest.mark.parametrize("overlap", [False, True])
def test_a_clean_run_is_recorded_and_silent(specwb: Specwb, served: Run, mask: str, overlap: bool) -> None:
    scheduler, run = served(mask=mask, overlap=overlap)
    steps = [row for row in rows_of(run) if row["row_kind"] is None]
    for each in scheduler.requests:
        own = [row for row in steps if row["request_id"] == each.rid]
        emitted = [token for row in own for token in row["emitted_token_ids"].tolist()]
        end = each.finished_len
        assert own[0]["context_token_ids"].tolist() == [*each.origin_input_ids, each.output_ids[0]]
        assert emitted == each.output_ids[1:end]
        assert own[-1]["stop_reason"] in {"eos", "length"}
        assert [row["step"] for row in own] == list(range(len(own)))
    assert {row["proposer"] for row in steps} == {"eagle3"}
    assert any(len(row["accepted_nodes"]) == 2 for row in steps)
    assert all(row["visible"].shape == (fake.T, fake.T) for row in steps)
    every_row = open_run(run, every_row=True).path("fused")
    assert any(row["row_kind"] == "withdrawn" for row in every_row) == overlap
    answer = specwb("check", run)
    assert answer.exit_code == 0, answer.out


@pytest.mark.parametrize("overlap", [False, True])
def test_a_retracted_request_begins_a_turn(specwb: Specwb, served: Run, overlap: bool) -> None:
    scheduler, run = served(retracted={2: 1}, overlap=overlap)
    own = [row for row in rows_of(run) if row["request_id"] == "b"]
    assert [row["request_epoch"] for row in own] == [row["turn"] for row in own]
    assert {row["turn"] for row in own} == {0, 1}
    again = next(row for row in own if row["turn"] == 1)
    text = [*scheduler.requests[1].origin_input_ids, *scheduler.requests[1].output_ids]
    context = again["context_token_ids"].tolist()
    assert context == text[: len(context)]
    answer = specwb("check", run)
    assert answer.exit_code == 0, answer.out


def shifted_positions(verify_input: Any, _: Any) -> None:
    verify_input.positions[1 * fake.T + 3] += 1


def leaking_mask(verify_input: Any, batch: Any) -> None:
    start = (int(batch.seq_lens[0]) + fake.T) * fake.T
    verify_input.custom_mask[start + int(batch.seq_lens[1]) + 1] = (
        True  # the root of the second sees its child
    )


def shared_slots(_: Any, batch: Any) -> None:
    batch.out_cache_loc[fake.T : 2 * fake.T] = batch.out_cache_loc[: fake.T]


def link_to_another(verify_input: Any, _: Any) -> None:
    verify_input.retrieve_next_token[1, 2] = 3


def second_only(edit: fake.Edit) -> fake.Edit:
    """Make a mistake where there are at least two requests."""
    return lambda verify_input, batch: edit(verify_input, batch) if len(batch.reqs) > 1 else None


@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        (shifted_positions, "TREE004"),
        (leaking_mask, "MASK001"),
        (link_to_another, "TREE001"),
        (shared_slots, "REQ001"),
    ],
)
def test_a_fault_is_named_with_its_request(specwb: Specwb, served: Run, edit: fake.Edit, rule: str) -> None:
    _, run = served(second_only(edit))
    found = findings(specwb, run)
    assert rule in found, found
    assert "b" in found[rule]


def test_a_bias_makes_processed_logits(specwb: Specwb, served: Run) -> None:
    bias = torch.zeros(1, fake.V)
    bias[0, 11] = 3.0
    _, run = served(bias=bias)
    assert {row["logits_kind"] for row in rows_of(run)} == {"processed"}
    assert specwb("check", run).exit_code == 0


def test_the_engine_is_not_disturbed(served: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = [each.output_ids for each in served()[0].requests]
    plain = fake.Scheduler(
        [fake.request("a", [5, 9, 3], 9), fake.request("b", [7, 7, 1, 2], 14), fake.request("c", [2, 8], 12)]
    )
    monkeypatch.setattr(session, "gave", lambda *_: 1 / 0)
    (tmp_path / "run").rename(tmp_path / "first")
    assert [each.output_ids for each in served()[0].requests] == texts
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    fake.put(monkeypatch)
    plain.serve()
    assert [each.output_ids for each in plain.requests] == texts


def test_another_engine_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake.put(monkeypatch)
    import_module("sglang.srt.speculative.eagle_utils").eagle_sample = lambda verify_input, batch: None  # type: ignore[attr-defined]  # another engine
    with pytest.raises(
        UnsupportedSglangError, match=r"sglang 0\.5\.23: .*eagle_sample should take .* known version"
    ):
        install.install(str(tmp_path))
    fake.put(monkeypatch)
    monkeypatch.setenv(signatures.SIMULATED, "2.5")
    with pytest.raises(UnsupportedSglangError, match="acceptance is simulated"):
        install.install(str(tmp_path))


@pytest.mark.parametrize(
    ("parallel", "algorithm"),
    [({"dp_size": 2}, "EAGLE3"), ({"pp_size": 2}, "EAGLE3"), ({"tp_rank": 1}, "EAGLE3"), ({}, "UNO")],
)
def test_what_is_not_recorded_leaves_no_run(
    served: Run, monkeypatch: pytest.MonkeyPatch, parallel: dict[str, int], algorithm: str
) -> None:
    ranks = {"pp_size": 1, "dp_size": 1, "tp_rank": 0} | parallel
    monkeypatch.setitem(
        fake.PLACES["sglang.srt.runtime_context"], "get_parallel", lambda: SimpleNamespace(**ranks)
    )
    whole = fake.Scheduler._batch

    def batch(self: fake.Scheduler) -> Any:
        made = copy.copy(whole(self))
        made.spec_algorithm = SimpleNamespace(name=algorithm)
        return made

    monkeypatch.setattr(fake.Scheduler, "_batch", batch)
    scheduler, run = served()
    assert all(each.finished() for each in scheduler.requests)
    assert not run.exists()


def test_the_entry_point(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    module, name = points["sglang.srt.plugins"]["specwb"].split(":")
    assert getattr(import_module(module), name) is plugin.register
    monkeypatch.delenv(plugin.VARIABLE, raising=False)
    plugin.register()
    assert not caplog.text
    monkeypatch.setenv(plugin.VARIABLE, "somewhere")
    plugin.register()
    assert "nothing is recorded" in caplog.text
