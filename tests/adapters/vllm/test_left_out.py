"""Requests that are not recorded: whole lives, counted, through the scheduler's hooks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.adapters.vllm.fake_engine import VOCABULARY, settings
from workbench.adapters.vllm import cost
from workbench.adapters.vllm.background import BACKGROUND
from workbench.adapters.vllm.core import LEFT_OUT, CoreRecorder
from workbench.adapters.vllm.cost import WINDOW
from workbench.adapters.vllm.frames import ADMIT, CLOSED, ENDED, scanned
from workbench.adapters.vllm.patches import Meter
from workbench.adapters.vllm.scheduler import hook_scheduler
from workbench.adapters.vllm.settings import PARTS


class Request:
    def __init__(self, name: str) -> None:
        self.request_id, self.sampling_params, self.max_tokens = name, None, 9
        self.num_preemptions, self.is_prefill_chunk, self.num_computed_tokens = 0, False, 4
        self.all_token_ids = [1, 2]
        self.has_ended = False

    def is_finished(self) -> bool:
        return self.has_ended


class Scheduler:
    vllm_config = SimpleNamespace(
        parallel_config=SimpleNamespace(data_parallel_rank=0, world_size=1),
        model_config=SimpleNamespace(get_vocab_size=lambda: VOCABULARY),
        scheduler_config=SimpleNamespace(async_scheduling=False),
    )

    def __init__(self) -> None:
        self.requests: dict[str, Request] = {}

    def schedule(self) -> Any:
        cached = SimpleNamespace(req_ids=[], new_block_ids=[], num_computed_tokens=[], resumed_req_ids=set())
        return SimpleNamespace(
            num_scheduled_tokens=dict.fromkeys(self.requests, 1), scheduled_new_reqs=[],
            scheduled_cached_reqs=cached, scheduled_spec_decode_tokens={},
        )  # fmt: skip

    def _preempt_request(self, request: Any) -> None: ...

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        outputs = [
            SimpleNamespace(request_id=name, new_token_ids=[7], finish_reason=None, stop_reason=None)
            for name in scheduler_output.num_scheduled_tokens
        ]
        return {0: SimpleNamespace(outputs=outputs)}


class Engine:
    def __init__(self, core: CoreRecorder) -> None:
        kind = type("Scheduler", (Scheduler,), dict(vars(Scheduler)))
        hook_scheduler(kind, core)
        self.scheduler: Any = kind()

    def launch(self) -> Any:
        output = self.scheduler.schedule()
        names = list(output.num_scheduled_tokens)
        rows = {name: row for row, name in enumerate(names)}
        sampled = SimpleNamespace(req_id_to_index=rows, sampled_token_ids=[[7]] * len(names))
        self.scheduler.update_from_output(output, sampled)
        return output


def records(folder: Path) -> list[Any]:
    (file,) = (folder / PARTS).glob("*.part")
    return [each for each, _ in scanned(memoryview(file.read_bytes()), "file")]


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_above_the_budget_whole_new_requests_are_left_out_and_counted(
    share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = CoreRecorder(settings(tmp_path / "run", budget=0.25))
    clock = [0]
    monkeypatch.setattr(cost.time, "perf_counter_ns", lambda: clock[0])
    monkeypatch.setattr(Meter, "nanoseconds", 0)
    core.cost = cost.HookCost()
    engine = Engine(core)
    engine.scheduler.requests["old"] = Request("old")
    for _ in range(WINDOW):
        clock[0] += 1000_000_000
        Meter.nanoseconds = int(share * clock[0])
        engine.launch()
    engine.scheduler.requests["new"] = Request("new")
    for _ in range(2):
        output = engine.launch()
        assert getattr(output, LEFT_OUT, frozenset()) == (frozenset({"new"}) if share > 0.25 else frozenset())
    monkeypatch.setattr(core.cost, "is_above", lambda _: False)
    engine.launch()
    BACKGROUND.drain()
    core._part.close()  # type: ignore[union-attr]  # it has begun
    found = records(tmp_path / "run")
    admitted = [each.facts["id"] for each in found if each.kind == ADMIT]
    assert admitted == (["old"] if share > 0.25 else ["old", "new"])
    numbers = {tuple(each.arrays["small"][:, 0].tolist()) for each in found if each.kind == ENDED}
    assert numbers == ({(0,)} if share > 0.25 else {(0,), (0, 1)})
    assert found[-1].kind == CLOSED
    assert found[-1].facts["left_out"] == {"sample": 0, "budget": int(share > 0.25), "limit": 0}
