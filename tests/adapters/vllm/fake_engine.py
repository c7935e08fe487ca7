"""An engine that calls the recorders as the hooks do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tracing.reader import open_run
from tracing.run_facts import RequestFacts
from workbench.adapters.vllm.core import NUMBER, CoreRecorder
from workbench.adapters.vllm.ended import EndedLaunch, PlannedLaunch
from workbench.adapters.vllm.launch import LaunchInputs, Logits
from workbench.adapters.vllm.settings import RecorderSettings
from workbench.adapters.vllm.worker import WorkerRecorder

VOCABULARY = 50
BLOCK = 32
MANIFEST = {
    "limits": {"vocab_size": VOCABULARY, "block_size": BLOCK, "num_slots": 320, "eos_token_ids": [49],
               "max_tree_nodes": 1, "max_tree_depth": 0},
    "engine": "fake",
}  # fmt: skip
NAMES = ("first", "second")
PROMPT = 4


class FakeEngine:
    """Decodes a few tokens of two requests at a time without drafts, and calls the recorders as hooks do."""

    def __init__(
        self, settings: RecorderSettings, *, num_workers: int = 1, ranks: Iterable[int] = (0,)
    ) -> None:
        self.core = CoreRecorder(settings)
        self.core.begin(dp_rank=0, num_workers=num_workers, vocab_size=VOCABULARY)
        self.workers = []
        for rank in ranks:
            worker = WorkerRecorder(settings)
            worker.begin(MANIFEST, {"dp_rank": 0, "tp_rank": rank, "pp_rank": 0, "cp_rank": 0}, None)
            self.workers.append(worker)
        for name in NAMES:
            self.core.admit(name, RequestFacts(), is_plain=True)
        self.length = PROMPT

    def run(self, num_launches: int) -> FakeEngine:
        for number in range(num_launches):
            self.launch(is_first=number == 0, is_last=number == num_launches - 1)
        return self

    def launch(self, *, is_first: bool, is_last: bool) -> None:
        blocks = {name: ([2 + row],) for row, name in enumerate(NAMES)}
        changed = {name: (blocks[name], True, 0) for name in NAMES} if is_first else {}
        plan = PlannedLaunch(NAMES, (0, 0), (False, False), (0, 0), changed)
        output = SimpleNamespace()
        self.core.scheduled(output, plan)
        number, width = getattr(output, NUMBER), self.length if is_first else 1
        start = 0 if is_first else self.length - 1
        for worker in self.workers:
            worker.forward(number, inputs(start, width))
            best = np.tile(np.array([7, 8], np.int64), (2, 1))
            worker.logits(number, Logits(np.ones(2, np.int32), best, np.array([[2.0, 1.0]] * 2, np.float32)))
            worker.flush()
        launch = self.core.open_launch(number)
        assert launch is not None
        contexts = dict.fromkeys(launch.first_steps(), (3,) * (self.length - 1) + (7,))
        stops = {0: "length", 1: "length"} if is_last else {}
        after = (start + width,) * 2
        self.core.ended(number, EndedLaunch((False,) * 2, ((7,),) * 2, ((7,),) * 2, after, contexts, stops))
        self.length += 1

    def close(self) -> None:
        parts: list[Any] = [self.core, *self.workers]
        for each in parts:
            each._part.close()


def inputs(start: int, width: int) -> LaunchInputs:
    places = start + np.arange(width)
    return LaunchInputs(
        request_ids=NAMES,
        query_starts=np.array([0, width, 2 * width]),
        kv_lens=np.full(2, start + width),
        kv_lens_host=np.full(2, start + width),
        committed=np.full(2, start),
        token_ids=np.where(np.tile(places, 2) < PROMPT, 3, 7),
        position_ids=np.tile(places, 2),
        tables=(np.array([[2, 0], [3, 0]]),),
        slots=(np.concatenate([2 * BLOCK + places, 3 * BLOCK + places]),),
        block_sizes=(BLOCK,),
        kernel="fake",
    )


def settings(folder: Path, **changes: Any) -> RecorderSettings:
    return RecorderSettings(**{"folder": folder, "run": "a", "level": "digest", "budget": 1.0, **changes})


def recorded(folder: Path, **changes: Any) -> Path:
    FakeEngine(settings(folder, **changes)).run(4).close()
    return folder


def rows(folder: Path, path: str = "fused") -> list[dict[str, Any]]:
    return list(open_run(folder, every_row=True).path(path))
