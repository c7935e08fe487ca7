from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.adapters.vllm.fake_engine import FakeEngine, recorded, rows, settings
from tracing.errors import TraceError, UsageError
from tracing.moment import STAGES
from tracing.reader import open_run
from tracing.run_facts import RequestFacts
from workbench.adapters.vllm.background import BACKGROUND
from workbench.adapters.vllm.join import join, require_new
from workbench.adapters.vllm.scheduler import hook_engine
from workbench.adapters.vllm.settings import PARTS
from workbench.cli.app import build_app
from workbench.judge.recorded.check import check_run


@pytest.mark.parametrize("mode", ["ring", "full"])
def test_launches_come_back_as_rows_of_their_requests(mode: str, tmp_path: Path) -> None:
    folder = recorded(tmp_path / "run", mode=mode)
    assert join(folder)
    assert not join(folder)
    found = rows(folder)
    assert [(row["launch"], row["request_id"], row["row_kind"], row["step"]) for row in found[:6]] == [
        (0, "first", "prefill_chunk", 0), (0, "second", "prefill_chunk", 0),
        (1, "first", None, 0), (1, "second", None, 0), (2, "first", None, 1), (2, "second", None, 1),
    ]  # fmt: skip
    assert found[-1]["stop_reason"] == "length"
    assert found[2]["context_token_ids"].tolist() == [3, 3, 3, 3, 7]
    assert open_run(folder).manifest["recording_cost"]
    assert all(row.get(f"{stage}_ns") is None for row in found for stage in STAGES), "times from events alone"
    assert check_run(folder).verdict == "ok"


def test_check_joins_by_itself(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "run")
    done = CliRunner().invoke(build_app(), ["trace", "info", str(folder)])
    assert done.exit_code == 0, done.output
    assert (folder / "manifest.json").exists()


@pytest.mark.parametrize("mode", ["ring", "full"])
def test_a_core_that_is_killed_after_its_shutdown_has_begun_has_ended_its_file(
    mode: str, tmp_path: Path
) -> None:
    class Core:
        ended = False

        def shutdown(self) -> None:
            self.ended = True

    class CoreOfProcess(Core):
        def shutdown(self) -> None:
            super().shutdown()

    engine = FakeEngine(settings(tmp_path / "run", mode=mode))
    hook_engine(Core, engine.core)
    engine.run(4)
    assert not any(each.stat().st_size for each in (tmp_path / "run" / PARTS).glob("core*")) or mode == "full"
    core = CoreOfProcess()
    core.shutdown()
    core.shutdown()
    assert core.ended
    parts: list[Any] = [*engine.workers]
    parts[0]._part.close()
    join(tmp_path / "run")
    assert open_run(tmp_path / "run").status == "complete"
    assert len({row["launch"] for row in rows(tmp_path / "run")}) == 4


def test_a_worker_whose_file_is_missing_is_not_guessed(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "run")
    next((folder / PARTS).glob("worker*")).unlink()
    join(folder)
    steps = list(open_run(folder).path("fused"))
    assert steps
    assert all("no worker" in row["incomplete"] and row["kv_len"] is None for row in steps)
    assert check_run(folder).verdict != "ok"


def test_without_the_core_nothing_is_joined(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "run")
    next((folder / PARTS).glob("core*")).unlink()
    with pytest.raises(TraceError, match="engine core's file is missing"):
        join(folder)


def test_each_rank_has_a_path_and_a_missing_one_is_counted(tmp_path: Path) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    FakeEngine(settings(whole), num_workers=2, ranks=(0, 1)).run(3).close()
    FakeEngine(settings(half), num_workers=2).run(3).close()
    join(whole)
    join(half)
    assert open_run(whole).path_names == ("fused", "fused-tp1")
    assert {row["tp_rank"] for row in rows(whole, "fused-tp1")} == {1}
    assert open_run(half).manifest["recording"]["parts"] == 2
    assert check_run(half).verdict == "inconclusive"


def test_a_ring_keeps_the_last_launches_and_says_that_the_first_are_gone(tmp_path: Path) -> None:
    engine = FakeEngine(settings(tmp_path / "run", mode="ring", max_bytes=6_000))
    engine.run(40)
    assert not list((tmp_path / "run" / PARTS).glob("*.part"))
    engine.close()
    assert all(each.stat().st_size < 9_000 for each in (tmp_path / "run" / PARTS).glob("*.part"))
    join(tmp_path / "run")
    found = rows(tmp_path / "run")
    assert found[-1]["launch"] == 39
    assert found[0]["launch"] > 0
    assert open_run(tmp_path / "run").manifest["recording"]["open_start"]
    assert min(row["step"] for row in found if row["row_kind"] is None) >= 1


def test_a_full_file_ends_at_its_limit(tmp_path: Path) -> None:
    engine = FakeEngine(settings(tmp_path / "run", max_bytes=20_000))
    engine.run(200)
    BACKGROUND.drain()
    engine.core.admit("late", RequestFacts(), is_plain=True)
    assert engine.core.num_left_out["limit"] == 1
    engine.close()
    assert all(each.stat().st_size <= 20_000 + 4096 for each in (tmp_path / "run" / PARTS).glob("*.part"))


def test_tokens_without_content_are_equal_where_they_were_and_no_others(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "run", key=99)
    join(folder)
    steps = list(open_run(folder).path("fused"))
    plain = recorded(tmp_path / "plain")
    join(plain)
    covered = {(row["request_id"], row["step"]): int(row["final_token_id"]) for row in steps}
    assert len(set(covered.values())) == 1
    assert set(covered.values()) != {7}
    assert open_run(folder).manifest["limits"]["eos_token_ids"] != [49]
    assert {f.rule for f in check_run(folder).findings} == {f.rule for f in check_run(plain).findings}


def test_requests_are_sampled_whole(tmp_path: Path) -> None:
    engine = FakeEngine(settings(tmp_path / "run", sample=0.0))
    engine.run(3).close()
    join(tmp_path / "run")
    assert rows(tmp_path / "run") == []
    assert next(iter(open_run(tmp_path / "run").manifest["left_out"].values()))["sample"] == 2


def test_damage_is_named_and_a_cut_end_is_lawful(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "run")
    core = next((folder / PARTS).glob("core*"))
    data = core.read_bytes()
    core.write_bytes(data[:-10])
    join(folder)
    assert open_run(folder).status == "interrupted"
    core.write_bytes(data[:400] + b"?" + data[401:])
    with pytest.raises(TraceError, match=r"core.* at byte"):
        join(folder)
    done = CliRunner().invoke(build_app(), ["check", str(folder)])
    assert isinstance(done.exception, TraceError)


def test_a_folder_that_holds_another_run_is_refused(tmp_path: Path) -> None:
    recorded(tmp_path / "run")
    require_new(settings(tmp_path / "run"))
    with pytest.raises(UsageError, match="holds a run already"):
        require_new(settings(tmp_path / "run", run="b"))
