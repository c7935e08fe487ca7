"""Hooks of model runner V2 on fakes of its shape: what they record; none reads a value on the host."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.adapters.vllm.fake_engine import settings
from tests.adapters.vllm.watched import Watched, watched
from workbench.adapters.vllm import runner_v2
from workbench.adapters.vllm.core import NUMBER
from workbench.adapters.vllm.frames import SEEN, scanned
from workbench.adapters.vllm.settings import PARTS
from workbench.adapters.vllm.worker import WorkerRecorder

VOCABULARY = 50
LENGTHS = (7, 9)
"""KV lengths of two requests after a launch of two rows each."""


class Sampler:
    def __init__(self) -> None:
        states = {"temperature": [0.0, 0.8], "top_k": [VOCABULARY, 5], "top_p": [1.0, 0.9]}
        self.sampling_states = SimpleNamespace(
            **{name: SimpleNamespace(gpu=watched(value)) for name, value in states.items()}
        )

    def __call__(self, logits: Any, input_batch: Any) -> Any:
        return logits.zero_()  # a sampler may work in place


class Runner:
    """A launch of two requests, two rows each; the buffers of a launch are the next one's."""

    def __init__(self, sampler: Any) -> None:
        computed = watched(np.array(LENGTHS) - 2)
        self.req_states = SimpleNamespace(num_computed_tokens=SimpleNamespace(gpu=computed))
        self.block_tables = SimpleNamespace(block_sizes=[4])
        self.slots = watched([[9, 10, 19, 20]])
        self.sampler = sampler

    def execute_model(self, scheduler_output: Any, intermediate_tensors: Any = None) -> Any:
        places = np.concatenate([np.arange(length - 2, length) for length in LENGTHS])
        batch = SimpleNamespace(
            req_ids=["a", "b"], idx_mapping=watched([0, 1]), query_start_loc=watched([0, 2, 4]),
            seq_lens=watched(LENGTHS), seq_lens_cpu_upper_bound=torch.tensor(LENGTHS) + 1,
            input_ids=watched([1, 2, 3, 4]), positions=watched(places), num_tokens_after_padding=4,
            num_reqs_after_padding=2, cu_num_logits_np=np.array([0, 2, 4]),
        )  # fmt: skip
        self.prepare_attn(batch)
        self.slots.zero_()
        return batch

    def prepare_attn(self, input_batch: Any) -> Any:
        return (watched([[1, 2, 0], [3, 4, 5]]),), self.slots

    def sample(self, hidden_states: Any, input_batch: Any, grammar_output: Any) -> Any:
        return self.sampler(watched(torch.eye(4, VOCABULARY)), input_batch)


@pytest.fixture
def hooked(tmp_path: Path) -> tuple[Any, WorkerRecorder]:
    class OwnRunner(Runner):
        pass

    class OwnSampler(Sampler):
        pass

    worker = WorkerRecorder(settings(tmp_path / "run"))
    ranks = {"dp_rank": 0, "tp_rank": 0, "pp_rank": 0, "cp_rank": 0}
    worker.begin({"limits": {"vocab_size": VOCABULARY, "eos_token_ids": []}}, ranks, "eagle3")
    runner_v2.hook_runner(OwnRunner, worker)
    runner_v2.hook_sampler(OwnSampler, worker)
    Watched.reads.clear()
    return OwnRunner(OwnSampler()), worker


def launched(runner: Any, number: int, grammar: Any = None) -> None:
    runner.slots.copy_(torch.tensor([[9, 10, 19, 20]]))
    batch = runner.execute_model(SimpleNamespace(**{NUMBER: number}))
    runner.sample(None, batch, grammar)


def test_hooks_record_a_launch_as_it_was_before_its_buffers_are_used_again(
    hooked: tuple[Any, WorkerRecorder], tmp_path: Path
) -> None:
    runner, worker = hooked
    launched(runner, 0)
    launched(runner, 1, grammar=object())
    worker._part.close()  # type: ignore[union-attr]  # it has begun
    (file,) = (tmp_path / "run" / PARTS).glob("*.part")
    first, second = (each for each, _ in scanned(memoryview(file.read_bytes()), "file") if each.kind == SEEN)
    assert (first.facts["is_masked"], second.facts["is_masked"]) == (False, True)
    assert first.arrays["slots_0"].tolist() == [9, 10, 19, 20]
    assert first.arrays["committed"].tolist() == [5, 7]
    assert first.arrays["kv_lens_host"].tolist() == [8, 10]
    assert first.arrays["top_ids"][:, 0].tolist() == [0, 1, 2, 3]
    assert first.arrays["top_logits"][:, 0].tolist() == [1, 1, 1, 1]
    assert first.arrays["top_k"].tolist() == [0, 5]


def test_no_hook_reads_a_value_on_the_host(
    hooked: tuple[Any, WorkerRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, worker = hooked
    monkeypatch.setattr(worker, "flush", lambda **_: None)
    launched(runner, 0)
    launched(runner, 1)
    assert [inputs is not None and logits is not None for inputs, logits in worker._open.values()] == [
        True
    ] * 2
    assert Watched.reads == []
    watched([1]).tolist()
    assert Watched.reads == ["tolist"]
