"""From a request to all that a run needs: the pair loaded, the path built, the turns planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reference.drafters import drafter_of
from tracing.distances import DEFAULT_EDGES
from tracing.errors import UsageError
from tracing.models import ModelPair
from tracing.run_facts import ModelFacts
from tracing.settings import AS_IS, DRAWN_DRAFTS, DecodeSettings, Device, RungName
from tracing.stages import DecodePath
from workbench.checkpoints.load import LoadedPair, load_pair, needs_drafter
from workbench.checkpoints.shipped import shipped_pair_dirs
from workbench.fused.path import make_path
from workbench.lockstep.choice.decoders import stopwatch_for
from workbench.lockstep.choice.policy import MAIN
from workbench.lockstep.choice.policy_file import read_policy
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.session.auto import AutoSession, open_auto, probes_for, read_measured, trial_prompts
from workbench.lockstep.session.contenders import PolicyModels, SharedWeights, open_lineup
from workbench.lockstep.session.contexts import facts_of
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.ports import build_port
from workbench.lockstep.session.prompts import Prompt, read_prompts
from workbench.lockstep.session.turns import Turn, plan_turns
from workbench.lockstep.truth.reference_runner import ONE_ABOVE

AUTO: Final = "auto"
"""In place of a kind of drafter: one is chosen for each request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRequest:
    """A request of `specwb diff`.

    Attributes:
        prompt_file: Text file, `.jsonl` file, or `-`.
        out: Folder of the trace; must not hold a run.
        options: How to watch and judge.
        backend: What `workbench.npu.bootstrap` chose, as plain data.
        model, draft: Checkpoint directories; None is the shipped pair.
        proposer: Kind of the drafter; `auto` chooses one for each request.
        drafts: Under `auto`, kind of drafter to its directory, in place of `draft`.
        policy: Under `auto`, the table to choose by; None is the shipped one.
        measured: Under `auto`, a run or file whose measured costs are taken; None measures.
        fused: `module:factory` of a user's own path; None is ours.
        eager: Fused operators to run eagerly.
        device, dtype: Of the fused path.
        rung, reference_device: Of the reference.
        chat, trust_remote_code, weights: As the command's options.
        stage_timeout: Seconds that a stage of the path under test may take, or None.
        distance_edges: Lower edges of the buckets in which attention distances will be shown.
    """

    prompt_file: str
    out: Path
    options: LockstepOptions
    backend: Mapping[str, Any]
    model: str | None = None
    draft: str | None = None
    proposer: str = "eagle3"
    drafts: Mapping[str, str] = field(default_factory=dict)
    policy: Path | None = None
    measured: Path | None = None
    fused: str | None = None
    eager: frozenset[str] = frozenset()
    device: Device = "auto"
    dtype: str = "auto"
    rung: RungName = "cached"
    reference_device: str = "cpu"
    chat: bool = False
    trust_remote_code: bool = False
    weights: str = AS_IS
    distance_edges: tuple[int, ...] = DEFAULT_EDGES
    stage_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Everything loaded and built, nothing decoded yet.

    Attributes:
        loaded: The pair, its tokenizer and load report.
        path: The path under test.
        turns: What to decode.
        dtype: The tested path's dtype by name.
        user_code: Calls the code of the path.
        auto: What chooses for each request; `loaded` and `path` are then those of its first choice.
    """

    loaded: LoadedPair
    path: DecodePath
    turns: tuple[Turn, ...]
    dtype: str
    user_code: UserCode = field(default_factory=UserCode)
    auto: AutoSession | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful about the checkpoints."""
        return self.loaded.report.warnings if self.auto is None else self.auto.warnings

    def model_facts(self, settings: DecodeSettings) -> ModelFacts:
        """What is lawful for the model and the path under test."""
        return facts_of(self.loaded.pair, self.path, settings)

    @property
    def every_pair(self) -> tuple[LoadedPair, ...]:
        """All models."""
        return (self.loaded,) if self.auto is None else tuple(self.auto.lineup.pairs.values())

    @property
    def reads(self) -> tuple[str, ...]:
        """Settings of drafting that hold for the whole run; those of a choice stand beside it."""
        return drafter_of(self.loaded.pair).settings if self.auto is None else ()


def open_session(request: DiffRequest) -> Session:
    """Load the pair, build the path under test, and tokenize the prompts.

    Raises:
        SpecwbError: Anything that the user can mend: prompt, checkpoint, device, factory.
    """
    prompts = read_prompts(request.prompt_file)
    if request.proposer == AUTO:
        return _open_auto(request, prompts)
    loaded = load_pair(
        *pair_directories(request.model, request.draft, request.proposer),
        proposer=request.proposer,
        trust_remote_code=request.trust_remote_code,
        weights=request.weights,
    )
    return session_over(loaded, request, prompts)


def session_over(loaded: LoadedPair, request: DiffRequest, prompts: Sequence[Prompt]) -> Session:
    """Build the path under test over a pair that is loaded already, and plan the turns of prompts.

    Raises:
        SpecwbError: Anything that the user can mend.
    """
    turns = plan_turns(prompts, loaded.tokenizer, loaded.pair, request.options.settings, chat=request.chat)
    user_code = UserCode(request.stage_timeout)
    path = path_of(request, loaded.pair, request.options.settings, user_code)
    _require_chooser(request, path)
    return Session(loaded, path, turns, _dtype_of(path, request.dtype), user_code)


def _open_auto(request: DiffRequest, prompts: Sequence[Prompt]) -> Session:
    """Load and measure all choices of a policy.

    Raises:
        SpecwbError: Anything that the user can mend.
    """
    settings = request.options.settings
    if request.options.mode == "free":
        raise UsageError(
            "--proposer auto is judged staged, request by request; free lockstep takes one proposer"
        )
    if request.weights != AS_IS:
        raise UsageError(
            "--proposer auto takes the weights of its policy's teachers as they are; name a proposer"
        )
    policy, user_code = read_policy(request.policy), UserCode(request.stage_timeout)
    models = PolicyModels(
        model=request.model, drafts=request.drafts, trust_remote_code=request.trust_remote_code
    )
    shared = SharedWeights(request.device, request.dtype)

    def build(pair: ModelPair, own: DecodeSettings) -> DecodePath:
        return path_of(request, pair if request.fused else shared.of(pair), own, user_code)

    lineup = open_lineup(policy, models, settings, build)
    first = next(iter(lineup.contenders))
    path, loaded = lineup.contenders[first].path, lineup.pairs[first]
    for contender in lineup.contenders.values():
        _require_chooser(request, contender.path)
    dtype, tokenizer = _dtype_of(path, request.dtype), lineup.teachers[MAIN].tokenizer
    auto = open_auto(
        policy,
        lineup,
        probes_for(policy, lineup, device=request.device, dtype=request.dtype),
        stopwatch_for(str(path.info.get("device", "cpu"))),
        trial_prompts(tokenizer.encode, loaded.pair.teacher.max_position_embeddings // 2),
        kept=None if request.measured is None else read_measured(request.measured),
    )
    turns = plan_turns(prompts, tokenizer, *auto.hardest, chat=request.chat)
    return Session(loaded, path, turns, dtype, user_code, auto)


def _require_chooser(request: DiffRequest, path: DecodePath) -> None:
    """Refuse to sample with a path that cannot, or where streams of two paths would be compared.

    Raises:
        UsageError: Not greedy, and the path accepts greedily or the lockstep is free.
    """
    settings = request.options.settings
    if settings.is_greedy:
        return
    if request.options.mode == "free":
        raise UsageError("--lockstep free compares greedy streams; sampled ones are compared staged")
    if settings.acceptance in DRAWN_DRAFTS and request.fused is None and request.proposer != "draft_model":
        raise UsageError(
            f"--acceptance {settings.acceptance} needs drafts drawn from their law, as --proposer "
            f"draft_model draws them; {request.proposer} searches, which eagle and match accept exactly"
        )
    if path.chooser is None and path.stages.accept is not None:
        raise UsageError(f"{path.name} declares no chooser, so it cannot accept by {settings.acceptance}")


def pair_directories(
    model: str | None, draft: str | None, proposer: str = "eagle3"
) -> tuple[str | Path, str | Path | None]:
    """Return teacher and drafter directories: both given, or both shipped.

    Raises:
        UsageError: Only one is given; a drafter fits one teacher. Or the kind of drafter is unknown.
    """
    if not needs_drafter(proposer):
        return model or shipped_pair_dirs()[0], None
    if model is None and draft is None:
        return shipped_pair_dirs(proposer)
    if model is None or draft is None:
        raise UsageError("--model and --draft go together: a drafter is trained for one teacher")
    return model, draft


def path_of(
    request: DiffRequest, pair: ModelPair, settings: DecodeSettings, user_code: UserCode
) -> DecodePath:
    """Build the path under test.

    Raises:
        SpecwbError: Anything that the user can mend.
    """
    if request.fused is None:
        return make_path(pair, settings, device=request.device, dtype=request.dtype, eager=request.eager)
    return build_port(
        request.fused,
        pair,
        settings,
        user_code,
        device=request.device,
        dtype=request.dtype,
        eager=request.eager,
    )


def _dtype_of(path: DecodePath, asked: str) -> str:
    """The dtype that bounds rounding: the path's own statement, else the requested one."""
    dtype = str(path.info.get("dtype", asked)).removeprefix("torch.")
    return dtype if dtype in ONE_ABOVE else "float32"
