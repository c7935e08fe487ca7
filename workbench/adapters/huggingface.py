"""Records Hugging Face's assisted `generate`, whoever drafts: each step is a chain tree.

with record_generate(model, "runs/hf"):
    model.generate(**inputs, prompt_lookup_num_tokens=4)

Generators of candidates that are known by name are in `huggingface_facts.PROPOSERS`; another one is recorded
under the name of its class. A `generate` without one (greedy, sampling, beams) has no steps to record.

In this engine the last token of `input_ids` is not in the cache when a step begins: it is our root, and the
first root of a prompt is the prompt's last token. Nothing is changed in what `generate` computes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tracing.errors import EnvironmentProblemError, UsageError
from tracing.recorder import RunWriter, Trace
from workbench.adapters.huggingface_facts import FACTORY_ARGUMENTS, describe, first_window, proposer_of
from workbench.adapters.huggingface_step import (
    HookedLayer,
    accept_columns,
    chain_columns,
    score_columns,
    seen_columns,
)


@contextmanager
def record_generate(
    model: Any,
    folder: str | Path,
    *,
    on_error: str = "raise",
    top_logits: int = 8,
    with_digest: bool = False,
) -> Iterator[Trace]:
    """Record every assisted `generate` of a model inside the block; each call is a prompt of its own.

    Args:
        model: A `transformers` causal language model, batch size 1.
        folder: A folder that holds no run.
        on_error: `raise`, or `warn`: nothing is ever raised into the host.
        top_logits: Logits to keep per node.
        with_digest: Put the digest of the weights into the manifest, so that a replay can prove its models.

    Raises:
        EnvironmentProblemError: This version of `transformers` makes its generators of candidates elsewhere.
        TraceError: The folder holds a run.
    """
    _require_hook(model)
    with ExitStack() as stack:
        run = stack.enter_context(RunWriter(folder, describe(model, with_digest=with_digest)))
        trace = run.path(
            "fused",
            level="basic",
            on_error="warn" if on_error == "warn" else "raise",
            info={"dtype": str(model.dtype).removeprefix("torch."), "device": str(model.device)},
        )
        layer = stack.enter_context(HookedLayer(model, first_window(model)))
        recording = _Recording(model, run, trace, layer, top_logits)
        original = model._get_candidate_generator  # noqa: SLF001  the one place where all drafters are made
        model._get_candidate_generator = recording.wrapped(original)  # noqa: SLF001
        try:
            yield trace
        finally:
            del model._get_candidate_generator  # noqa: SLF001  the class's own shows again
            recording.end_step()


def _require_hook(model: Any) -> None:
    factory = getattr(model, "_get_candidate_generator", None)
    missing = FACTORY_ARGUMENTS - set(inspect.signature(factory).parameters) if callable(factory) else None
    if missing is None or missing:
        import transformers

        lacks = "" if missing is None else f" that takes {', '.join(sorted(missing))}"
        raise EnvironmentProblemError(
            f"generate of transformers {transformers.__version__} cannot be recorded: {type(model).__name__} "
            f"has no _get_candidate_generator{lacks}; versions that are known: docs/recorders.md"
        )


class _Recording:
    """Follows one model's generate calls, step by step."""

    def __init__(self, model: Any, run: RunWriter, trace: Trace, layer: HookedLayer, top_logits: int) -> None:
        self._model = model
        self._run = run
        self._trace = trace
        self._layer = layer
        self._top_logits = top_logits
        self._prompt_id = -1
        self._next_step = 0
        self._stack = ExitStack()
        self._step: Any = None
        self._candidates: Any = None
        self._config: Any = None
        self._eos: list[int] = []
        self._proposer = ""
        self._is_processed = False

    def wrapped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the factory of candidate generators, whose products show what they do."""

        def make(*args: Any, **kwargs: Any) -> Any:
            generator = original(*args, **kwargs)
            self.end_step()
            self._prompt_id, self._next_step = self._prompt_id + 1, 0
            self._config = kwargs["generation_config"]
            self._is_processed = len(kwargs["logits_processor"]) > 0
            self._proposer = proposer_of(generator)
            self._say_limits(int(kwargs["input_ids"].shape[1]))
            inner_get, inner_update = generator.get_candidates, generator.update_candidate_strategy

            def get_candidates(input_ids: Any, *more: Any, **named: Any) -> Any:
                found = inner_get(input_ids, *more, **named)
                self._safely(self._begin, input_ids, found[0])
                return found

            def update_candidate_strategy(input_ids: Any, scores: Any, num_matches: int) -> Any:
                self._safely(self._finish, input_ids, scores, int(num_matches))
                return inner_update(input_ids, scores, num_matches)

            generator.get_candidates = get_candidates
            generator.update_candidate_strategy = update_candidate_strategy
            return generator

        return make

    def end_step(self) -> None:
        """Close a step that never came to its end."""
        if self._step is not None:
            self._step.mark_incomplete("generate ended inside this step")
        self._stack.close()
        self._step = None

    def _say_limits(self, prompt_len: int) -> None:
        eos = getattr(self._config, "_eos_token_tensor", None)
        self._eos = [] if eos is None else [int(token) for token in eos.flatten().tolist()]
        limits = {
            **describe(self._model)["limits"],
            "eos_token_ids": self._eos,
            "max_new_tokens": int(self._config.max_length) - prompt_len + 1,
        }
        known = limits if self._prompt_id == 0 else {**limits, "max_new_tokens": None}
        self._run.update(limits=known)

    def _begin(self, input_ids: Any, candidates: Any) -> None:
        self.end_step()
        if candidates.shape[0] != 1:
            raise UsageError(
                f"{self._proposer} drafts {candidates.shape[0]} rows; only a chain can be recorded"
            )
        context = input_ids[0].tolist()
        self._step = self._stack.enter_context(
            self._trace.step(prompt_id=self._prompt_id, turn=0, step=self._next_step)
        )
        self._candidates = candidates[0, len(context) :].tolist()
        columns = chain_columns(context, self._candidates)
        if self._next_step == 0:
            columns["context_token_ids"] = context
        self._step.record(proposer=self._proposer, **columns)
        self._step.about_to_run("verify")
        self._layer.forget()

    def _finish(self, input_ids: Any, scores: Any, num_matches: int) -> None:
        """Record what verify gave and what was kept; a choice that is not the best of the scores is not."""
        step, tokens = self._step, input_ids[0].tolist()
        if step is None:
            return
        committed_len = len(tokens) - num_matches - 2
        step.record(**seen_columns(self._layer, committed_len, len(self._candidates) + 1))
        step.record(
            **score_columns(scores[0], self._config, self._top_logits, is_processed=self._is_processed)
        )
        step.record(kernel=f"transformers {self._model.config._attn_implementation}")  # noqa: SLF001
        is_full = len(tokens) >= int(self._config.max_length)
        step.record(**accept_columns(tokens, num_matches, self._eos, is_full=is_full))
        self._step = None
        self._stack.close()
        self._next_step += 1

    def _safely(self, record: Callable[..., None], *arguments: Any) -> None:
        """Record; in `warn` mode whatever goes wrong is logged and the host continues."""
        try:
            record(*arguments)
        except Exception as problem:  # noqa: BLE001  raised again, or logged in warn mode
            if self._step is not None:
                self._step.mark_incomplete(f"{type(problem).__name__}: {problem}")
            self._trace.report(problem)
