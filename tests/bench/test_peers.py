"""Peers: words, the pipe and whatever may come through it, the table; one real engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.made import flat, plans, several
from tests.cli.pair_dirs import write_pair
from tests.lockstep.texts_made import greedy_text
from tests.pairs import tiny_pair
from tracing.errors import EnvironmentProblemError, UsageError
from tracing.settings import DecodeSettings
from workbench.bench.limits import measure_limits
from workbench.bench.measure import cases_of, run_turns
from workbench.bench.peers import process
from workbench.bench.peers.open import WORKERS, Peer, PeerPair, opened_peers, parse_peers
from workbench.bench.peers.process import PeerProcess
from workbench.bench.peers.study import peers_study
from workbench.bench.peers.texts import write_texts
from workbench.bench.turn import turn_from_json, turn_json
from workbench.fused.path import make_engine
from workbench.lockstep.replay.teacher import load_teacher_only
from workbench.lockstep.texts.lines import read_texts

ASKED = {"threads": 1}
COUNTS_UP = f"""
import sys; sys.path.insert(0, {str(WORKERS)!r})
from types import SimpleNamespace
from wire import serve
def open_engine(asked):
    print("chatter on stdout")
    def generate(prompt, n):
        print("more of it")
        if n > 100: raise ValueError("too many")
        return [prompt[-1] + 1 + i for i in range(n)]
    return generate, {{"threads": asked["threads"]}}
serve(SimpleNamespace(open_engine=open_engine, PACKAGES=("numpy",)))
"""


def _peer(folder: Path, code: str) -> PeerProcess:
    return PeerProcess("made:up", (sys.executable, "-c", code), ASKED, folder / "log")


def test_words() -> None:
    assert parse_peers(["openvino:tree=/a/python,vllm=/b"]) == (
        Peer("openvino", ("tree",), "/a/python"),
        Peer("vllm", ("greedy", "chain", "ngram"), "/b"),
    )
    assert parse_peers([]) == ()
    for word in ("vllm", "vllm=", "vllm:tree=/b", "llama.cpp=/b", "=/b"):
        with pytest.raises(UsageError, match="--peers should be"):
            parse_peers([word])


def test_it_answers_whatever_the_engine_prints(tmp_path: Path) -> None:
    peer = _peer(tmp_path, COUNTS_UP)
    assert peer.settings["threads"] == 1
    assert set(peer.settings["versions"]) == {"python", "numpy"}
    decoded = peer([4, 5], 3)
    assert decoded.token_ids == (6, 7, 8)
    assert decoded.seconds > 0
    assert decoded.processor_seconds is not None
    with pytest.raises(EnvironmentProblemError, match="ValueError: too many"):
        peer([4], 101)
    assert peer([4], 1).token_ids == (5,)
    peer.close()
    assert "chatter" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('no such engine')", "ended; .* no such engine"),
        ("print('not json')", "no JSON object"),
        ("print('[1]')", "no JSON object"),
        ("print('{}')", "something else than its settings"),
        ("import time; time.sleep(60)", "gave no answer in"),
    ],
)
def test_one_that_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    monkeypatch.setattr(process, "OPEN_SECONDS", 1.0)
    with pytest.raises(EnvironmentProblemError, match=message):
        _peer(tmp_path, code)
    with pytest.raises(EnvironmentProblemError, match="cannot be started"):
        PeerProcess("made:up", (str(tmp_path / "none"),), ASKED, tmp_path / "log")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"output_token_ids": ["1"], "seconds": 1.0},
        {"output_token_ids": [1]},
        {"output_token_ids": [1], "seconds": 0.0, "first_token_seconds": 0.1, "processor_seconds": 0.1},
        {"output_token_ids": [1], "seconds": 0.5, "first_token_seconds": True, "processor_seconds": 0.1},
    ],
)
def test_answers_that_are_none(tmp_path: Path, answer: dict[str, object]) -> None:
    lines = [json.dumps({"settings": {}}), json.dumps(answer)]
    peer = _peer(
        tmp_path, f"import sys\nfor line in {lines!r}: sys.stdin.readline(); print(line, flush=True)"
    )
    with pytest.raises(EnvironmentProblemError, match="answered"):
        peer([1], 1)
    peer.close()


def test_the_table() -> None:
    bench = several(**{"eagle3": 0.005, "openvino:tree": 0.002, "vllm:greedy": 0.02})
    bench.proposers["vllm:greedy"].slip_at = 2  # type: ignore[attr-defined]  # a made decoder
    results = flat(list(run_turns(bench, plans(4, 6), repetitions=2, done=())))
    study = peers_study(results, {"openvino:tree": {"threads": 2, "versions": {"x": "1"}}, "vllm:greedy": {}})
    rows = {row[0]: row for row in study.tables[0].rows}
    assert rows["specwb:greedy"][2:3] == pytest.approx((100.0,))
    assert rows["specwb:eagle3"][5] == pytest.approx(2.0)
    assert rows["openvino:tree"][6] == pytest.approx(500.0)
    assert rows["openvino:tree"][7:] == (pytest.approx(250.0), 4, 0, 0)
    assert (rows["vllm:greedy"][1], rows["vllm:greedy"][10], study.num_refused) == (0, 4, 4)
    assert any("openvino:tree: x 1, threads 2" in line for line in study.text)


def test_our_own_speeds_stand_beside_what_the_machine_allows() -> None:
    """Weights of 2 MB at 1 GB/s take 2 ms, so that 500 tokens/s are the most; 5 ms for a tree's products."""
    measured = {"weight_bytes": 2e6, "bytes_per_second": 1e9, "one_row_seconds": 4e-3, "tree_seconds": 5e-3}
    results = flat(list(run_turns(several(eagle3=0.005), plans(4, 6), repetitions=2, done=())))
    two_steps = [
        replace(each, speculative=replace(each.speculative, num_accepted=(1, 1))) for each in results
    ]
    per_step = (len(results[0].speculative.token_ids) - 1) / 2
    study = peers_study(two_steps, {}, measured | {"tree_nodes": 12.0})
    by_limit = {row[:2]: row[2:4] for row in study.tables[1].rows}
    assert by_limit == {
        ("greedy", "weights read once"): pytest.approx((2.0, 500.0)),
        ("greedy", "products alone, 1 row"): pytest.approx((4.0, 250.0)),
        ("speculative", "weights read once"): pytest.approx((2.0, 500.0 * per_step)),
        ("speculative", "products alone, 12 rows"): pytest.approx((5.0, 200.0 * per_step)),
    }
    speeds = {row[0]: row[4] for row in study.tables[1].rows}
    assert speeds == {"greedy": pytest.approx(100.0), "speculative": pytest.approx(200.0)}
    assert all(row[5] == pytest.approx(row[4] / row[3]) for row in study.tables[1].rows)


def test_limits_are_those_of_the_teachers_products() -> None:
    pair = tiny_pair(0)
    engine = make_engine(pair, DecodeSettings(tree_nodes=4, depth=1, top_k=2), device="cpu")
    measured = measure_limits(engine, 4)
    assert len(engine.teacher.products) == 4 * pair.teacher.num_layers + 1
    weights = [each for name, each in pair.teacher_weights.items() if each.dim() == 2 and "embed" not in name]
    assert measured["weight_bytes"] == sum(each.nbytes for each in weights)
    assert min(measured.values()) > 0


def test_texts_are_files_that_the_texts_command_reads(tmp_path: Path) -> None:
    bench = several(**{"eagle3": 0.005, "vllm:greedy": 0.02})
    results = flat(list(run_turns(bench, plans(4, 6), repetitions=1, done=())))
    cases = cases_of(plans(4, 6), lambda *_: None)
    write_texts(
        results, cases, ["vllm:greedy"], 5, lambda name, text: (tmp_path / name).write_text(text) and None
    )
    assert [file.name for file in tmp_path.iterdir()] == ["texts-vllm-greedy.jsonl"]
    read = list(read_texts(str(tmp_path / "texts-vllm-greedy.jsonl"), lambda _: [], pytest.fail))
    assert [each.prompt_token_ids for each in read] == [case.token_ids for case in cases]
    assert [each.output_token_ids for each in read] == [(4, 5, 6, 7, 8), (6, 7, 8, 9, 10)]


def test_a_turn_without_time_to_first_token_is_kept() -> None:
    result = flat(list(run_turns(several(eagle3=0.005), plans(4), repetitions=1, done=())))[0]
    untimed = replace(result, speculative=replace(result.speculative, first_token_seconds=None))
    line = json.loads(json.dumps(turn_json([untimed]), allow_nan=False))
    assert turn_from_json(line)[0].speculative.first_token_seconds is None


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> PeerPair:
    folder = tmp_path_factory.mktemp("peers")
    teacher, drafter = write_pair(folder)
    return PeerPair(folder / "peers", teacher, drafter, None, [], "float32", 1, 256)


@pytest.fixture(scope="module")
def lookup(pair: PeerPair) -> Iterator[PeerProcess]:
    with opened_peers([Peer("transformers", ("lookup", "assisted"), sys.executable)], pair) as running:
        assert list(running) == ["transformers:lookup"]  # no draft model, nothing assists
        yield running["transformers:lookup"]


def test_transformers_writes_the_teachers_text(pair: PeerPair, lookup: PeerProcess) -> None:
    prompt: Sequence[int] = [5, 9, 33, 5, 9]
    text = greedy_text(load_teacher_only(pair.teacher).pair, prompt, 6)
    assert list(lookup(prompt, 6).token_ids) == text
    assert lookup.settings["prompt_lookup_num_tokens"] == 5
    assert (pair.folder / "drafter" / "tokenizer.json").exists()
