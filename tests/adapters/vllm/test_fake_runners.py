from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.adapters.vllm.watched import Watched, watched
from workbench.adapters.vllm import runner_v1
from workbench.adapters.vllm.core import NUMBER
from workbench.adapters.vllm.frames import SEEN, scanned
from workbench.adapters.vllm.install import difference
from workbench.adapters.vllm.settings import PARTS, RecorderSettings
from workbench.adapters.vllm.signatures import ASCEND_RUNNER
from workbench.adapters.vllm.worker import WorkerRecorder

VOCABULARY = 50
LENGTHS = (7, 9)
"""KV lengths of two requests after a launch of two rows each."""
GIVEN = (7, 11)
"""As the operator is given them: of the second request two tokens were rejected."""


@dataclass
class AscendMetadata:
    seq_lens: torch.Tensor
    seq_lens_list: list[int]
    query_start_loc: torch.Tensor
    block_tables: torch.Tensor
    slot_mapping: torch.Tensor
    causal: bool = True


class NPUModelRunner:
    """Methods with the signatures of the real one; a launch of two requests, two rows each."""

    def __init__(self, metadata: AscendMetadata) -> None:
        self.metadata = metadata
        self.kv_cache_config = SimpleNamespace(
            kv_cache_groups=[SimpleNamespace(layer_names=["layer.0"])], num_blocks=8
        )
        self.input_batch = SimpleNamespace(
            req_ids=["a", "b"], num_reqs=2, num_computed_tokens_cpu=np.array(LENGTHS) - 2,
            block_table=SimpleNamespace(block_tables=[SimpleNamespace(block_size=4)]),
            sampling_metadata=SimpleNamespace(temperature=None, top_k=None, top_p=None),
        )  # fmt: skip
        self.use_async_scheduling = False
        self.optimistic_seq_lens_cpu = torch.tensor(LENGTHS)
        self.seq_lens = watched([*LENGTHS, 0, 0])  # as many as the engine has room for
        self.execute_model_state: Any = None

    def execute_model(self, scheduler_output: Any, intermediate_tensors: Any = None) -> None:
        self.execute_model_state = SimpleNamespace(scheduler_output=scheduler_output)
        places = watched(np.concatenate([np.arange(length - 2, length) for length in LENGTHS]))
        self._model_forward(4, watched([1, 2, 3, 4]), places)

    def _model_forward(
        self, num_tokens_padded: int, input_ids: Any = None, positions: Any = None,
        intermediate_tensors: Any = None, inputs_embeds: Any = None, **model_kwargs: Any,
    ) -> None:  # fmt: skip
        self.metadata.slot_mapping = watched([0, 0, 0, 0])  # the next launch has the buffer

    def sample_tokens(self, grammar_output: Any) -> Any:
        drafts = SimpleNamespace(num_draft_tokens=[1, 1])
        return self._sample(watched(torch.eye(4, VOCABULARY)), drafts)

    def _sample(self, logits: Any, spec_decode_metadata: Any) -> Any:
        return logits

    def propose_draft_token_ids(  # noqa: PLR0917 as many as the real one has
        self, valid_sampled_token_ids: Any, sampling_metadata: Any, scheduler_output: Any,
        spec_decode_metadata: Any, spec_decode_common_attn_metadata: Any, positions: Any,
        num_scheduled_tokens: Any, hidden_states: Any, aux_hidden_states: Any = None,
        sample_hidden_states: Any = None, target_model_batch_desc: Any = None,
    ) -> Any:  # fmt: skip
        return watched([[5], [6]])


NPUModelRunner.__module__ = ASCEND_RUNNER.module


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, WorkerRecorder]:
    metadata = AscendMetadata(
        torch.tensor(GIVEN), list(GIVEN), watched([0, 2, 4]), watched([[1, 2, 0], [3, 4, 5]]),
        watched([9, 10, 19, 20]),
    )  # fmt: skip

    class Runner(NPUModelRunner):
        pass

    context = ModuleType("vllm.forward_context")
    context.get_forward_context = lambda: SimpleNamespace(  # type: ignore[attr-defined]  # a fake module
        attn_metadata={"layer.0": metadata}
    )
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.forward_context", context)
    worker = WorkerRecorder(RecorderSettings(tmp_path / "run", "a"))
    ranks = {"dp_rank": 0, "tp_rank": 0, "pp_rank": 0, "cp_rank": 0}
    worker.begin({"limits": {"vocab_size": VOCABULARY, "eos_token_ids": []}}, ranks, "eagle3")
    runner_v1.hook_runner(Runner, worker)
    runner_v1.hook_sampling(Runner, worker)
    Watched.reads.clear()
    return Runner(metadata), worker


def launched(runner: Any, number: int) -> Any:
    output = SimpleNamespace(**{NUMBER: number})
    runner.execute_model(output)
    runner.sample_tokens(None)
    return runner.propose_draft_token_ids(None, None, output, None, None, None, None, None)


def test_the_fake_has_the_signatures_that_were_read() -> None:
    assert difference(NPUModelRunner, ASCEND_RUNNER) == ""


def test_hooks_on_fakes_with_the_signatures_of_vllm_ascend(
    hooked: tuple[Any, WorkerRecorder], tmp_path: Path
) -> None:
    runner, worker = hooked
    launched(runner, 0)
    launched(runner, 1)
    worker._part.close()  # type: ignore[union-attr]  # it has begun
    (file,) = (tmp_path / "run" / PARTS).glob("*.part")
    records = [each for each, _ in scanned(memoryview(file.read_bytes()), "file") if each.kind == SEEN]
    first = records[0].arrays
    assert [each.facts["launch"] for each in records] == [0, 1]
    assert records[0].facts["kernel"] == "Ascend"
    assert first["kv_lens"].tolist() == list(LENGTHS)
    assert first["kv_lens_host"].tolist() == list(GIVEN)
    assert first["token_ids"].tolist() == [1, 2, 3, 4]
    assert first["slots_0"].tolist() == [9, 10, 19, 20]
    assert first["top_ids"][:, 0].tolist() == [0, 1, 2, 3]
    assert records[1].arrays["proposed"].tolist() == [5, 6]


def test_no_hook_reads_a_value_on_the_host_before_the_engine_has_its_own(
    hooked: tuple[Any, WorkerRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, worker = hooked
    monkeypatch.setattr(worker, "flush", lambda **_: None)
    launched(runner, 0)
    launched(runner, 1)
    assert Watched.reads == []
    watched([1]).tolist()
    assert Watched.reads == ["tolist"]
