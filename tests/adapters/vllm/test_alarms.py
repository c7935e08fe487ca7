"""What makes a ring write itself, and what does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.adapters.vllm.fake_engine import FakeEngine, inputs, rows, settings
from tracing.reader import open_run
from workbench.adapters.vllm.alarms import WINDOW, AcceptanceWatch, alarm_in
from workbench.adapters.vllm.background import BACKGROUND
from workbench.adapters.vllm.join import join
from workbench.adapters.vllm.part import AFTER_ALARM
from workbench.adapters.vllm.scheduler import hook_front_end
from workbench.adapters.vllm.settings import PARTS

SEEN: dict[str, Any] = {
    "query_starts": np.array([0, 2, 4]), "kv_lens": np.array([7, 9]), "committed": np.array([5, 7]),
    "slots_0": np.array([37, 38, 71, 72]), "top_logits": np.ones((4, 2), np.float32),
}  # fmt: skip
FACTS = {"block_sizes": (32,)}


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("kv_lens", [7, 8], "another key length than committed tokens and rows for request 1"),
        ("committed", [4, 7], "another key length than committed tokens and rows for request 0"),
        ("slots_0", [37, 38, 38, 72], "two rows that write one slot of group 0"),
        ("top_logits", [[1, np.nan]], "logits that are no numbers"),
        ("kv_lens", [7, 9], ""),
        ("slots_0", [37, -1, -1, 72], ""),
        ("slots_0", [37, 0, 0, 72], ""),
        ("top_logits", [[1, -np.inf]], ""),
    ],
)
def test_a_launch_that_no_lawful_engine_makes(column: str, value: list[Any], said: str) -> None:
    found = alarm_in(FACTS, {**SEEN, column: np.array(value)})
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_launches_without_logits_or_committed_lengths_are_looked_at_too() -> None:
    assert alarm_in(FACTS, {name: each for name, each in SEEN.items() if name != "top_logits"}) == ""
    assert alarm_in(FACTS, {**SEEN, "committed": np.zeros(0, int)}) == ""


def said_of(*shares: float, drafts: int = 4) -> list[str]:
    watch, said = AcceptanceWatch(), []
    for share in shares:
        for row in range(WINDOW // drafts):
            accepted = drafts if (row % 10) < round(10 * share) else 0
            said.append(watch.add(np.array([drafts]), np.array([accepted])))
    return [each for each in said if each]


def test_acceptance_that_collapses_is_noticed_and_poor_or_wavering_drafts_are_not() -> None:
    (sentence,) = said_of(0.5, 0.6, 0.1)
    assert "fell from 0.6" in sentence
    assert said_of(0.5, 0.3, 0.2, 0.6, 0.2) == []
    assert said_of(0.0, 0.0, 0.0) == []
    assert AcceptanceWatch().add(np.zeros(0, int), np.zeros(0, int)) == ""


@pytest.mark.parametrize("is_odd", [True, False])
def test_a_ring_is_written_by_every_process_some_records_after_an_alarm(is_odd: bool, tmp_path: Path) -> None:
    engine = FakeEngine(settings(tmp_path / "run", mode="ring"), num_workers=2, ranks=(0, 1))
    engine.launch(is_first=True, is_last=False)
    wrong = inputs(engine.length - 1, 1)
    wrong.kv_lens = np.array([engine.length + is_odd, engine.length])
    engine.workers[1].forward(999, wrong)
    engine.workers[1].flush()
    BACKGROUND.drain()
    for _ in range(2 * AFTER_ALARM):
        engine.launch(is_first=False, is_last=False)
    BACKGROUND.drain()
    files = sorted(each.name.partition("-a-")[0] for each in (tmp_path / "run" / PARTS).glob("*.part"))
    names = ["core-dp0", "worker-dp0-tp0-pp0-cp0", "worker-dp0-tp1-pp0-cp0"]
    assert files == (names if is_odd else [])
    engine.close()
    join(tmp_path / "run")
    whys = set(open_run(tmp_path / "run").manifest["written_because"].values())
    said = "launch 999 has another key length than committed tokens and rows for request 0 of the batch"
    assert whys == {said if is_odd else "the process ended"}
    last = max(row["launch"] for row in rows(tmp_path / "run"))
    assert (last < 2 * AFTER_ALARM) == is_odd


@pytest.mark.parametrize("mode", ["ring", "full"])
def test_files_end_when_the_front_end_is_about_to_kill(mode: str, tmp_path: Path) -> None:
    class Client:
        def shutdown(self, timeout: float | None = None) -> None: ...

    asked = settings(tmp_path / "run", mode=mode)
    engine = FakeEngine(asked).run(3)
    for each in (engine.core, *engine.workers):
        mark = each._part._mark  # type: ignore[attr-defined]  # it has begun
        each._part._mark = mark.rename(mark.with_name(mark.name.replace(f"-{os.getpid()}-", "-1-")))  # type: ignore[attr-defined]  # as of another process
    hook_front_end(Client, asked)
    Client().shutdown(timeout=5.0)
    assert list((tmp_path / "run" / PARTS).glob("open-*"))
    Client().shutdown(timeout=0)
    assert not list((tmp_path / "run" / PARTS).glob("open-*"))
    join(tmp_path / "run")
    assert open_run(tmp_path / "run").status == "complete"
    assert {row["launch"] for row in rows(tmp_path / "run")} == {0, 1, 2}
    assert not any(row["incomplete"] for row in rows(tmp_path / "run"))
