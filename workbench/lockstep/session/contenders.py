"""The choices of a policy made ready: checkpoints loaded, paths built; what cannot be taken is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tracing.errors import ModelMissingError, UsageError
from tracing.models import ModelPair
from tracing.moment import STAGES
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from workbench.checkpoints.draft_model import same_vocabulary
from workbench.checkpoints.files import require_directory
from workbench.checkpoints.load import LoadedPair, needs_drafter, pair_with
from workbench.checkpoints.loaded_teacher import LoadedTeacher, load_teacher
from workbench.checkpoints.shipped import shipped_pair_dirs
from workbench.fused.fitting import choose_device, choose_dtype
from workbench.lockstep.choice.decide import fitted
from workbench.lockstep.choice.policy import MAIN, SHAPE, Policy, PolicyChoice
from workbench.lockstep.choice.trials import Contender

BuildPath = Callable[[ModelPair, DecodeSettings], DecodePath]
SIZES: Final = "captured_rows"
"""Key of `DecodePath.info`: the numbers of rows that the path has compiled graphs for."""


class LeftOutError(Exception):
    """A choice cannot be taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyModels:
    """Where the models of a policy are.

    Attributes:
        model: Directory of the main teacher; None is the shipped one.
        drafts: Kind of drafter to its directory, for the main teacher.
        trust_remote_code: Allow code that a checkpoint brings.
    """

    model: str | None = None
    drafts: Mapping[str, str] = field(default_factory=dict)
    trust_remote_code: bool = False

    def drafter(self, choice: PolicyChoice) -> Path | None:
        """Return the directory of a choice's drafter, None where it needs none.

        Raises:
            ModelMissingError: What was given is not there.
            LeftOutError: Nobody gave one.
        """
        if not needs_drafter(choice.proposer):
            return None
        given = choice.draft
        if given is None and choice.teacher == MAIN and choice.proposer in self.drafts:
            given = Path(self.drafts[choice.proposer])
        if given is not None:
            require_directory(given, "drafter")
            return given
        if choice.teacher == MAIN and self.model is None:
            return _shipped(choice.proposer)
        raise LeftOutError(f"no checkpoint of kind {choice.proposer} was given")


@dataclass(frozen=True, slots=True)
class Lineup:
    """What a policy can choose from.

    Attributes:
        contenders: By name of the choice, in the policy's order.
        pairs: The models of each.
        teachers: The teachers by name.
        left_out: Choices that cannot be taken, and why.
    """

    contenders: Mapping[str, Contender]
    pairs: Mapping[str, LoadedPair]
    teachers: Mapping[str, LoadedTeacher]
    left_out: Mapping[str, str]


def open_lineup(
    policy: Policy,
    models: PolicyModels,
    base: DecodeSettings,
    build: BuildPath,
    trees: Mapping[str, DecodeSettings] | None = None,
) -> Lineup:
    """Load what the choices of a policy need and build a path for each.

    Args:
        policy: The table.
        models: Where the models are.
        base: Settings that are not of a draft.
        build: Makes a path; of a pair whose teacher's weights are shared with the others'.
        trees: Draft settings that were chosen by measurement, by kind of drafter.

    Raises:
        SpecwbError: A checkpoint that was given is broken, or no choice is left.
    """
    directories = {MAIN: Path(models.model or shipped_pair_dirs()[0]), **policy.teachers}
    wanted = {MAIN, *(choice.teacher for choice in policy.choices.values())}
    teachers = {
        name: load_teacher(directory, trust_remote_code=models.trust_remote_code)
        for name, directory in directories.items()
        if name in wanted
    }
    for name, teacher in teachers.items():
        require_one_vocabulary(f"teacher {name!r}", teacher, teachers[MAIN])
    pairs: dict[str, LoadedPair] = {}
    contenders: dict[str, Contender] = {}
    left_out: dict[str, str] = {}
    known: dict[tuple[Any, ...], LoadedPair] = {}
    for name, choice in policy.choices.items():
        try:
            settings = _settings(choice, base, trees or {})
            draft = models.drafter(choice)
            key = (choice.teacher, choice.proposer, draft)
            if key not in known:
                known[key] = pair_with(
                    teachers[choice.teacher], directories[choice.teacher], draft, choice.proposer
                )
            contenders[name] = _contender(choice, known[key].pair, settings, build)
            pairs[name] = known[key]
        except (LeftOutError, UsageError) as problem:
            left_out[name] = str(problem)
    if not contenders:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UsageError(f"no choice of the policy can be taken ({why})")
    return Lineup(contenders, pairs, teachers, left_out)


def _settings(
    choice: PolicyChoice, base: DecodeSettings, trees: Mapping[str, DecodeSettings]
) -> DecodeSettings:
    settings = choice.settings(base)
    if not choice.auto_tree:
        return settings
    if choice.proposer not in trees:
        raise LeftOutError("no draft settings were measured; specwb bench measures them")
    measured = trees[choice.proposer]
    return replace(settings, **{name: getattr(measured, name) for name in SHAPE})


def _contender(
    choice: PolicyChoice, pair: ModelPair, settings: DecodeSettings, build: BuildPath
) -> Contender:
    path = build(pair, settings)
    sizes = path.info.get(SIZES)
    fits = fitted(settings, choice.proposer, None if sizes is None else frozenset(sizes))
    if fits is None:
        raise LeftOutError(f"the path has compiled graphs of {sorted(sizes or ())} rows; none of them fits")
    if fits != settings:
        path, settings = build(pair, fits), fits
    missing = [stage for stage in STAGES if getattr(path.stages, stage) is None]
    if missing:
        raise UsageError(
            f"--proposer auto measures whole steps; {path.name} lacks {', '.join(missing)}, name a proposer"
        )
    limit = pair.teacher.max_position_embeddings
    return Contender(choice.name, choice.teacher, choice.proposer, path, settings, pair.eos_token_ids, limit)


class SharedWeights:
    """Puts weights on a device in a dtype once, so that several engines over them hold one copy."""

    def __init__(self, device: str, dtype: str) -> None:
        """Choose the place as an engine would.

        Raises:
            SpecwbError: No such device or dtype.
        """
        self._device = choose_device(device)
        self._dtype = choose_dtype(dtype, self._device)
        self._placed: dict[int, tuple[Any, dict[str, Any]]] = {}

    def of(self, pair: ModelPair) -> ModelPair:
        """Return the pair over weights in place."""
        return replace(
            pair,
            teacher_weights=self._place(pair.teacher_weights),
            drafter_weights=self._place(pair.drafter_weights),
        )

    def _place(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        if id(weights) not in self._placed:  # kept beside its copy: another could get its id
            copy = {name: self._moved(each) for name, each in weights.items()}
            self._placed[id(weights)] = weights, copy
        return self._placed[id(weights)][1]

    def _moved(self, tensor: Any) -> Any:
        """Return a tensor in place; words of int4 stay words."""
        return tensor.to(self._device, self._dtype if tensor.is_floating_point() else tensor.dtype)


def require_one_vocabulary(name: str, model: LoadedTeacher, teacher: LoadedTeacher) -> None:
    """Refuse a model whose token ids mean other texts: token ids go from one to the other.

    Raises:
        UsageError: As said.
    """
    check = same_vocabulary(model, teacher)
    if check.status != "ok":
        raise UsageError(f"{name} of the policy: {check.sentence.replace('to the draft model', 'to it')}")


def _shipped(proposer: str) -> Path:
    try:
        return shipped_pair_dirs(proposer)[1]
    except ModelMissingError as missing:
        raise LeftOutError(str(missing)) from None
