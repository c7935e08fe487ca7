"""From a request to all that a benchmark needs: the pair in place, an engine, the turns, the folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch

from tracing.manifest import fresh_manifest
from tracing.models import ModelPair
from tracing.settings import AS_IS, PROPOSERS, DecodeSettings
from workbench.bench.equality import NearTieJudge
from workbench.bench.measure import TurnPlan
from workbench.bench.published import humaneval_prompts, mt_bench_prompts
from workbench.bench.suite import SuitePrompt, describe, spread_over, suite_named
from workbench.checkpoints.load import LoadedPair, load_pair
from workbench.fused.engine import Engine
from workbench.fused.path import make_engine, path_over
from workbench.lockstep.choice.decoders import (
    Decoder,
    Stopwatch,
    greedy_decoder,
    speculative_decoder,
    stopwatch_for,
    trial_stopwatch,
)
from workbench.lockstep.choice.static import static_settings
from workbench.lockstep.session.contenders import SharedWeights
from workbench.lockstep.session.prompts import Prompt
from workbench.lockstep.session.request import pair_directories
from workbench.lockstep.session.turns import plan_turns
from workbench.lockstep.truth.reference_runner import ReferenceRunner

TRIAL_TREE: Final = DecodeSettings(tree_nodes=8, depth=4, top_k=2)
TRIAL_PATHS: Final = "0 1 0.0 0.0.0"
MAX_DEPTH: Final = 16
"""Expansions of the deepest tree that a study tries; every turn leaves room for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """What `specwb bench` was asked.

    Attributes:
        suite: One of the shipped suites.
        humaneval, mt_bench: Published files to use in its place.
        num_turns: An evenly spread part of the suite; None is all of it.
        model: Checkpoint directory of the teacher; None is the shipped one.
        proposers: Kinds of drafters, measured side by side; `auto` chooses among those of its policy.
        drafts: Checkpoint directory of each kind; one that is not there is the shipped one.
        policy: Table by which `auto` chooses; None is the shipped one.
        measured: A run or file whose measured costs `auto` takes; None measures.
        weights: How the teacher's weights are wanted.
    """

    suite: str = "full"
    humaneval: Path | None = None
    mt_bench: Path | None = None
    num_turns: int | None = None
    repetitions: int = 3
    max_new_tokens: int = 128
    model: str | None = None
    proposers: tuple[str, ...] = ("eagle3",)
    drafts: Mapping[str, str] = field(default_factory=dict)
    policy: Path | None = None
    measured: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    chat: bool = False
    trust_remote_code: bool = False
    weights: str = AS_IS

    @property
    def kinds(self) -> tuple[str, ...]:
        """Proposers that are kinds of drafters; with `auto` alone the first kind, to plan the turns."""
        return tuple(name for name in self.proposers if name in PROPOSERS) or PROPOSERS[:1]


@dataclass(frozen=True)
class BenchSession:
    """Teacher and one drafter loaded, nothing decoded yet.

    Attributes:
        pair: Plain data; weights already on the device in the engine's dtype, so that engines share them.
        tokenizer: Of the teacher.
        prompts, plans: What to decode.
        max_new_tokens: Per turn.
        unquantised: The pair before its teacher was rounded to int4; None where it was not.
        models: Digests of what was loaded.
        device, dtype: As engines are made.
        warnings: What is doubtful about the checkpoints, one sentence each.
        is_trial: Times are only compared with each other, to choose by them.
    """

    pair: ModelPair
    tokenizer: Any
    prompts: Sequence[SuitePrompt]
    plans: Sequence[TurnPlan]
    max_new_tokens: int
    device: str
    dtype: str
    warnings: tuple[str, ...] = ()
    unquantised: ModelPair | None = None
    models: Mapping[str, Any] = field(default_factory=dict)
    is_trial: bool = False

    @property
    def proposer(self) -> str:
        """Kind of the drafter."""
        return self.pair.proposer

    @property
    def max_top_k(self) -> int:
        """Most beams of a search: a drafter has no more tokens to choose from."""
        kept = self.pair.target_from_draft
        return self.pair.teacher.vocab_size if kept is None else len(kept)

    def engine(self, settings: DecodeSettings, eager: frozenset[str], **options: Any) -> Engine:
        """Build an engine over the shared weights."""
        settings = replace(settings, max_new_tokens=self.max_new_tokens)
        options = {"device": self.device, "dtype": self.dtype, "pair": self.pair, **options}
        return make_engine(options.pop("pair"), settings, eager=eager, **options)

    def tokens(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        encoded: list[int] = self.tokenizer.encode(text)
        return encoded

    @cached_property
    def stopwatch(self) -> Stopwatch:
        """A stopwatch that waits for the device; for choices the one that other programs disturb least."""
        device = torch.device(self.device)
        return trial_stopwatch(device) if self.is_trial else stopwatch_for(device)

    @cached_property
    def compare(self) -> NearTieJudge:
        """Compares texts with the teacher's own."""
        return self.judge(self.dtype)

    def judge(self, dtype: str) -> NearTieJudge:
        """Return what compares texts of engines of a dtype."""
        return NearTieJudge(
            lambda: ReferenceRunner(self.pair, DecodeSettings(), path_dtype=dtype, device=self.device), dtype
        )

    def greedy(self, engine: Engine) -> Decoder:
        """Return teacher-only greedy decoding on an engine."""
        return greedy_decoder(engine, self.stopwatch)

    def speculative(self, engine: Engine) -> Decoder:
        """Return speculative decoding on an engine."""
        return speculative_decoder(path_over(engine), engine.eos_token_ids, self.stopwatch)


def open_sessions(request: BenchRequest, shared: SharedWeights) -> dict[str, BenchSession]:
    """Load teacher and drafters, put their weights in place, and plan the turns, the same for each drafter.

    Raises:
        SpecwbError: Anything that the user can mend.
    """
    prompts = spread_over(_prompts(request), request.num_turns)
    sessions: dict[str, BenchSession] = {}
    for proposer in request.kinds:
        first = next(iter(sessions.values()), None)
        sessions[proposer] = _open(request, proposer, prompts, shared, first)
    return sessions


def _open(
    request: BenchRequest,
    proposer: str,
    prompts: Sequence[SuitePrompt],
    shared: SharedWeights,
    first: BenchSession | None,
) -> BenchSession:
    """Load one pair; turns and the teacher's weights are those of the first session, where there is one."""
    directories = pair_directories(request.model, request.drafts.get(proposer), proposer)
    loaded = load_pair(
        *directories, proposer=proposer, trust_remote_code=request.trust_remote_code, weights=request.weights
    )
    pair = shared.of(loaded.pair)
    if first is not None:
        pair = replace(pair, teacher_weights=first.pair.teacher_weights)
    engine = make_engine(pair, trial_settings(proposer), device=request.device, dtype=request.dtype)
    return BenchSession(
        pair=pair,
        unquantised=loaded.unquantised and shared.of(loaded.unquantised),
        tokenizer=loaded.tokenizer,
        prompts=prompts,
        plans=_plans(prompts, loaded, request) if first is None else first.plans,
        max_new_tokens=request.max_new_tokens,
        device=str(engine.device),
        dtype=str(engine.dtype).removeprefix("torch."),
        models={"teacher": loaded.digests.teacher_weights, "drafter": loaded.digests.drafter_weights},
        warnings=loaded.report.warnings,
    )


def identity(
    request: BenchRequest, sessions: Mapping[str, BenchSession], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what decides a benchmark, as plain data; `asked` adds settings and operators as asked for."""
    session = next(iter(sessions.values()))
    turns = json.dumps([prompt.turns for prompt in session.prompts]).encode()
    return {
        "proposers": list(request.proposers),
        "policy": None if request.policy is None else str(request.policy),
        "models": {proposer: dict(each.models) for proposer, each in sessions.items()},
        "suite": {
            **describe(session.prompts, _suite_name(request)),
            "sha256": hashlib.sha256(turns).hexdigest(),
        },
        "max_new_tokens": request.max_new_tokens,
        "device": session.device,
        "dtype": session.dtype,
        "threads": torch.get_num_threads(),
        "chat": request.chat,
        **asked,
    }


def about(backend: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reader should know: command line, versions, machine."""
    manifest = fresh_manifest({})
    return {
        "argv": manifest["argv"],
        "versions": {**manifest["versions"], "torch": torch.__version__},
        "backend": dict(backend),
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "method": {
            "clock": "perf_counter around a whole generation call, prefill included, device synchronised",
            "garbage": "collected before each call, collector paused during it, on all sides",
            "order": "who goes first rotates by turn and repetition",
            "percentiles": "linear interpolation between the two nearest values",
        },
    }


def trial_settings(proposer: str) -> DecodeSettings:
    """Return small settings with which any drafter of a kind runs."""
    return static_settings(TRIAL_PATHS, TRIAL_TREE) if proposer == "medusa" else TRIAL_TREE


def _prompts(request: BenchRequest) -> list[SuitePrompt]:
    if request.humaneval is None and request.mt_bench is None:
        return suite_named(request.suite)
    code = [] if request.humaneval is None else humaneval_prompts(request.humaneval)
    chats = [] if request.mt_bench is None else mt_bench_prompts(request.mt_bench)
    return [*code, *chats]


def _suite_name(request: BenchRequest) -> str:
    names = [path.name for path in (request.humaneval, request.mt_bench) if path is not None]
    return "+".join(names) or request.suite


def _plans(prompts: Sequence[SuitePrompt], loaded: LoadedPair, request: BenchRequest) -> list[TurnPlan]:
    """Return the turns, refusing at once what could become too long for the teacher."""
    settings = DecodeSettings(depth=MAX_DEPTH, max_new_tokens=request.max_new_tokens)
    texts = [Prompt(number, prompt.turns) for number, prompt in enumerate(prompts)]
    turns = plan_turns(texts, loaded.tokenizer, loaded.pair, settings, chat=request.chat)
    plans = [TurnPlan(turn.prompt_id, turn.turn, prompts[turn.prompt_id], turn.context) for turn in turns]
    longest: dict[int, list[int]] = {}
    for plan in plans:
        context = plan.context(longest.get(plan.prompt_id, []))
        longest[plan.prompt_id] = [*context, *[0] * request.max_new_tokens]
    return plans


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
