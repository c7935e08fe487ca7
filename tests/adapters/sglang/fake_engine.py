"""Modules shaped as the hooked places of SGLang 0.5.23, over a toy model that drafts small trees.

Names, parameters, tensors and the order of calls are the engine's; what is inside is made up.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

V, T, EOS, LONGEST = 40, 5, 0, 128
CHILDREN, SIBLINGS = (1, 3, 4, -1, -1), (-1, 2, -1, -1, -1)
PARENTS, DEPTHS = (0, 0, 0, 1, 2), (0, 1, 1, 2, 2)
Edit = Callable[[Any, Any], None]


@dataclass
class EagleVerifyInput:
    draft_token: torch.Tensor
    custom_mask: torch.Tensor
    positions: torch.Tensor
    retrieve_index: torch.Tensor
    retrieve_next_token: torch.Tensor
    retrieve_next_sibling: torch.Tensor
    topk: int = 2
    draft_token_num: int = T


@dataclass
class Req:
    rid: str
    origin_input_ids: list[int]
    sampling_params: Any
    output_ids: list[int] = field(default_factory=list)
    eos_token_ids: set[int] = field(default_factory=lambda: {EOS})
    finished_reason: Any = None
    finished_len: int | None = None
    is_retracted: bool = False
    retraction_count: int = 0

    def finished(self) -> bool:
        return self.finished_reason is not None

    def reset_for_retract(self) -> None:
        self.retraction_count += 1
        self.is_retracted = True


FINISH_LENGTH = type("FINISH_LENGTH", (SimpleNamespace,), {})
FINISH_MATCHED_TOKEN = type("FINISH_MATCHED_TOKEN", (SimpleNamespace,), {})


def scores(context: Sequence[int]) -> torch.Tensor:
    """Logits `[V]` of the toy teacher, which follow from the last two tokens."""
    generator = torch.Generator().manual_seed(1 + context[-1] + V * context[-2])
    return torch.randn(V, generator=generator)


def eagle_sample(
    verify_input: Any, batch: Any, logits_output: Any, grammar_mask: Any = None,
    uno_target_max_top_k: Any = None, *, watermark_state: Any = None, watermark_full_mask: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Walk each tree by the best logits, as the greedy kernel does."""
    bias = batch.sampling_info.logit_bias
    if bias is not None:
        logits_output.next_token_logits.add_(torch.repeat_interleave(bias, T, dim=0))
    best = logits_output.next_token_logits.argmax(-1)
    predict = torch.zeros(len(best), dtype=torch.int32)
    index = torch.full((len(batch.seq_lens), 3), -1, dtype=torch.int32)
    for row in range(len(batch.seq_lens)):
        node, depth = 0, 0
        while True:
            flat = row * T + node
            index[row, depth], predict[flat] = flat, int(best[flat])
            node = int(verify_input.retrieve_next_token[row, node])
            while node != -1 and int(verify_input.draft_token[row * T + node]) != int(best[flat]):
                node = int(verify_input.retrieve_next_sibling[row, node])
            if node == -1:
                break
            depth += 1
    return predict, (index >= 0).sum(1), index


class HookType(Enum):
    AROUND = "around"


class HookRegistry:
    hooks: ClassVar[dict[str, Any]] = {}

    @classmethod
    def register(cls, target: str, hook: Any, hook_type: HookType) -> None:
        cls.hooks[target] = hook


class Scheduler:
    """One batch of all requests, launch by launch; with overlap, results are taken a launch later."""

    def __init__(self, requests: Sequence[Req], *, overlap: bool = False, mask: str = "full") -> None:
        self.requests, self.overlap, self.mask = list(requests), overlap, mask
        self.max_total_num_tokens, self.page_size = LONGEST * len(requests), 1
        self.model_config = SimpleNamespace(
            vocab_size=V, context_len=LONGEST, hf_eos_token_id=EOS, model_path="toy", dtype=torch.float32
        )
        self.known = {each.rid: [*each.origin_input_ids] for each in requests}
        self.edit: Edit = lambda *_: None
        self.bias: torch.Tensor | None = None
        self.retracted: dict[int, int] = {}
        self.launches = 0

    def run_batch(self, batch: Any, pp_proxy_tensors: Any = None) -> Any:
        module = sys.modules["sglang.srt.speculative.eagle_utils"]
        verify_input = self._last = self._drafted(batch)
        self.edit(verify_input, batch)
        logits = torch.stack([scores(self._path(batch, flat)) for flat in range(len(batch.reqs) * T)])
        output = SimpleNamespace(next_token_logits=logits)
        predict, lens, index = module.eagle_sample(verify_input, batch, output, None)
        for row, request in enumerate(batch.reqs):
            self.known[request.rid] += [int(predict[flat]) for flat in index[row] if flat >= 0]
        return SimpleNamespace(next_token_ids=predict, accept_lens=lens, accept_index=index)

    def _drafted(self, batch: Any) -> EagleVerifyInput:
        tokens, positions, slots, masks = [], [], [], []
        for request, place in zip(batch.reqs, batch.places, strict=True):
            known = self.known[request.rid]
            length = len(known) - 1  # the newest token is the root: it is fed now
            right = int(scores(known).argmax())
            first = right if known[-1] % 3 else (right + 1) % V
            second = (first + 2) % V if known[-1] % 2 else right
            below = [int(scores([known[-1], guess]).argmax()) for guess in (first, second)]
            tokens += [known[-1], first, second if second != first else (first + 3) % V, *below]
            positions += [length + depth for depth in DEPTHS]
            slots += [place * LONGEST + length + node + 1 for node in range(T)]
            masks.append(self._mask(length))
        links = torch.arange(len(batch.reqs) * T).reshape(-1, T)
        batch.out_cache_loc = torch.tensor(slots)
        batch.seq_lens = torch.tensor([len(self.known[each.rid]) - 1 for each in batch.reqs])
        return EagleVerifyInput(
            torch.tensor(tokens), torch.cat(masks), torch.tensor(positions), links,
            torch.tensor([CHILDREN] * len(batch.reqs)), torch.tensor([SIBLINGS] * len(batch.reqs)),
        )  # fmt: skip

    def _mask(self, length: int) -> torch.Tensor:
        sees = torch.zeros(T, T, dtype=torch.bool)
        for node in range(T):
            at = node
            while True:
                sees[node, at] = True
                if at == 0:
                    break
                at = PARENTS[at]
        if self.mask == "packed":
            return (sees * 2 ** torch.arange(T)).sum(1).to(torch.uint8)
        if self.mask == "tree":
            return sees.flatten()
        return torch.cat([torch.ones(T, length, dtype=torch.bool), sees], dim=1).flatten()

    def _path(self, batch: Any, flat: int) -> list[int]:
        row, node = divmod(flat, T)
        nodes = [node]
        while nodes[0]:
            nodes.insert(0, PARENTS[nodes[0]])
        known = self.known[batch.reqs[row].rid]
        drafted = [int(self._last.draft_token[row * T + each]) for each in nodes[1:]]
        return [*known, *drafted]

    def serve(self) -> None:
        """Prefill all, then launch until every request has ended."""
        processor = SchedulerBatchResultProcessor()
        for request in self.requests:
            first = int(scores(self.known[request.rid]).argmax())
            request.output_ids.append(first)
            self.known[request.rid].append(first)
        waiting: list[Any] = []
        while any(not request.finished() for request in self.requests):
            self._retract()
            batch = self._batch()
            waiting.append((batch, self.run_batch(batch)))
            if len(waiting) > int(self.overlap):
                processor.process_batch_result_decode(*waiting.pop(0))
        for batch, result in waiting:
            processor.process_batch_result_decode(batch, result)

    def _retract(self) -> None:
        """Take away what a request holds, or compute it again a launch later."""
        for place, request in enumerate(self.requests):
            text = [*request.origin_input_ids, *request.output_ids]
            if request.is_retracted:
                request.is_retracted = False
                request.output_ids.append(int(scores(text).argmax()))
                self.known[request.rid] = [*request.origin_input_ids, *request.output_ids]
            if self.retracted.get(self.launches) == place and not request.finished():
                request.reset_for_retract()
        self.launches += 1

    def _batch(self) -> Any:
        waits = [request.finished() or request.is_retracted for request in self.requests]
        places = [place for place, each in enumerate(waits) if not each]
        return SimpleNamespace(
            reqs=[self.requests[place] for place in places],
            places=places,
            forward_mode=SimpleNamespace(is_idle=lambda: False),
            spec_algorithm=SimpleNamespace(name="EAGLE3"),
            sampling_info=SimpleNamespace(
                is_all_greedy=True, logit_bias=None if self.bias is None else self.bias.repeat(len(places), 1)
            ),
        )


class SchedulerBatchResultProcessor:
    def process_batch_result_decode(self, batch: Any, result: Any) -> None:
        for row, request in enumerate(batch.reqs):
            if request.finished() or request.is_retracted:
                continue
            new = [int(result.next_token_ids[flat]) for flat in result.accept_index[row] if flat >= 0]
            start = len(request.output_ids)
            request.output_ids.extend(new)
            limit = request.sampling_params.max_new_tokens
            if EOS in new:
                request.finished_reason = FINISH_MATCHED_TOKEN(matched=EOS)
                request.finished_len = min(start + new.index(EOS) + 1, limit)
            elif len(request.output_ids) >= limit:
                request.finished_reason = FINISH_LENGTH(length=limit)
                request.finished_len = limit


def request(rid: str, prompt: list[int], max_new_tokens: int) -> Req:
    params = SimpleNamespace(
        max_new_tokens=max_new_tokens, temperature=1.0, top_k=1, top_p=1.0, min_p=0.0, sampling_seed=None,
        stop_strs=None, stop_token_ids=None, ignore_eos=False,
    )  # fmt: skip
    return Req(rid, prompt, params)


PLACES: dict[str, dict[str, Any]] = {
    "sglang": {"__version__": "0.5.23"},
    "sglang.srt": {},
    "sglang.srt.plugins": {},
    "sglang.srt.plugins.hook_registry": {"HookRegistry": HookRegistry, "HookType": HookType},
    "sglang.srt.speculative": {},
    "sglang.srt.speculative.eagle_info": {"EagleVerifyInput": EagleVerifyInput},
    "sglang.srt.speculative.eagle_utils": {"eagle_sample": eagle_sample},
    "sglang.srt.managers": {},
    "sglang.srt.managers.scheduler": {"Scheduler": Scheduler},
    "sglang.srt.managers.schedule_batch": {"Req": Req},
    "sglang.srt.managers.scheduler_components": {},
    "sglang.srt.managers.scheduler_components.batch_result_processor": {
        "SchedulerBatchResultProcessor": SchedulerBatchResultProcessor
    },
    "sglang.srt.runtime_context": {
        "get_parallel": lambda: SimpleNamespace(pp_size=1, dp_size=1, tp_rank=0),
    },
}


def put(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the modules be imported."""
    for name, contents in PLACES.items():
        module = ModuleType(name)
        module.__dict__.update(contents)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)


def apply_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrap what is registered, as the engine's registry does before it serves."""
    for target, hook in HookRegistry.hooks.items():
        owner, _, name = target.rpartition(".")
        module, _, last = owner.rpartition(".")
        place = sys.modules.get(owner) or getattr(sys.modules[module], last)
        monkeypatch.setattr(place, name, _around(getattr(place, name), hook))


def _around(original: Any, hook: Any) -> Any:
    return functools.wraps(original)(lambda *args, **kwargs: hook(original, *args, **kwargs))
