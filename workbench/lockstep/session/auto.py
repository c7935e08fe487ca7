"""From a policy to what chooses for each request: models loaded, probes ready, every choice measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from reference.drafters import drafter_of
from tracing.errors import CheckpointError, UsageError
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from workbench.checkpoints.json_text import parse_object
from workbench.checkpoints.load import pair_with
from workbench.checkpoints.loaded_teacher import load_teacher
from workbench.checkpoints.shipped import held_out_prompts
from workbench.fused.path import make_engine
from workbench.lockstep.choice.decoders import Decoder, Stopwatch
from workbench.lockstep.choice.facts import EntropyProbe, FirstLogits, Probe, Probes
from workbench.lockstep.choice.forward import first_logits, label_probe
from workbench.lockstep.choice.measured import Measurements
from workbench.lockstep.choice.orchestrator import Orchestrator
from workbench.lockstep.choice.policy import MAIN, Policy
from workbench.lockstep.choice.trials import measure
from workbench.lockstep.session.contenders import Lineup, require_one_vocabulary

MAX_BYTES: Final = 64 << 20
TRIAL_TOKENS: Final = 24
"""Tokens of each text of a short measurement."""
TRIAL_PROMPT: Final = 96
TRIALS_OF_A_KIND: Final = 2


@dataclass(frozen=True, slots=True)
class AutoSession:
    """What a run of `--proposer auto` decodes with.

    Attributes:
        orchestrator: Chooses.
        lineup: The models of each choice.
    """

    orchestrator: Orchestrator
    lineup: Lineup

    @property
    def hardest(self) -> tuple[ModelPair, DecodeSettings]:
        """The choice that leaves a prompt the least room."""

        def room(name: str) -> int:
            contender, pair = self.lineup.contenders[name], self.lineup.pairs[name].pair
            deepest = contender.settings.deepest(drafter_of(pair).settings)
            return pair.teacher.max_position_embeddings - deepest

        name = min(self.lineup.contenders, key=room)
        return self.lineup.pairs[name].pair, self.lineup.contenders[name].settings

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful about any of the checkpoints, each sentence once."""
        return tuple(
            dict.fromkeys(each for pair in self.lineup.pairs.values() for each in pair.report.warnings)
        )

    def about(self) -> dict[str, Any]:
        """Return policy, measurements and models as plain data."""
        return {
            **self.orchestrator.about(),
            "models": {
                name: {
                    "teacher": pair.report.teacher.directory,
                    "drafter": None if pair.report.drafter is None else pair.report.drafter.directory,
                    "digests": pair.digests.as_json(),
                }
                for name, pair in self.lineup.pairs.items()
            },
        }


def probes_for(policy: Policy, lineup: Lineup, *, device: str, dtype: str) -> Probes:
    """Return the probes that the rules of a policy read, their models loaded.

    Raises:
        SpecwbError: The probe's checkpoint is missing, broken or of another vocabulary.
    """
    more: list[Probe] = []
    pair = next(iter(lineup.pairs.values())).pair
    if policy.asks_entropy:
        main = lineup.teachers[MAIN]
        own = replace(pair, teacher=main.config, teacher_weights=main.matched.weights)
        more.append(EntropyProbe(_logits_of(own, device, dtype), policy.last_tokens))
    if policy.question is not None:
        model = load_teacher(policy.question.model)
        require_one_vocabulary("the probe", model, lineup.teachers[MAIN])
        asked = pair_with(model, policy.question.model, None, "lookup").pair
        logits = _logits_of(asked, device, dtype)
        more.append(label_probe(policy.question, model.tokenizer, logits, policy.last_tokens))
    return Probes(policy.ngram, tuple(more))


def _logits_of(pair: ModelPair, device: str, dtype: str) -> FirstLogits:
    """Return what runs the teacher of a pair; a lookup drafter costs nothing beside it."""
    alone = replace(pair, proposer="lookup", drafter=None, drafter_weights={}, target_from_draft=None)
    return first_logits(make_engine(alone, DecodeSettings(), device=device, dtype=dtype))


def open_auto(
    policy: Policy,
    lineup: Lineup,
    probes: Probes,
    stopwatch: Stopwatch,
    prompts: Sequence[Sequence[int]],
    *,
    kept: Measurements | None = None,
    greedy: Mapping[str, Decoder] | None = None,
    num_tokens: int = TRIAL_TOKENS,
    rounds: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> AutoSession:
    """Measure what is not measured yet, and return what chooses.

    Args:
        policy: The table.
        lineup: What it can choose from.
        probes: Look at requests, and at the prompts that are measured on.
        stopwatch: Waits for the device.
        prompts: Texts to measure on.
        kept: An earlier measurement, which is taken as it is.
        greedy: Teacher-only decoding by name of a teacher.
        num_tokens: As `measure`.
        rounds: As `measure`.
        progress: Called with what is being measured.

    Raises:
        UsageError: The earlier measurement lacks a choice.
    """
    if kept is None:
        progress("costs and acceptance of every choice")
        kept = measure(
            list(lineup.contenders.values()),
            greedy or {},
            prompts,
            lambda prompt: policy.rule_for(probes.look(prompt)).name,
            stopwatch,
            num_tokens=num_tokens,
            rounds=rounds,
        )
    missing = [name for name in lineup.contenders if name not in kept.costs]
    if missing:
        raise UsageError(f"the measured costs have no {missing[0]!r}; measure again without --measured")
    orchestrator = Orchestrator(
        policy=policy,
        measured=kept.copy(),
        contenders=lineup.contenders,
        probes=probes,
        left_out=lineup.left_out,
        stopwatch=stopwatch,
    )
    return AutoSession(orchestrator, lineup)


def trial_prompts(encode: Callable[[str], list[int]], room: int) -> list[list[int]]:
    """Return short held-out texts of each kind, and one that says its text twice."""
    texts: list[str] = []
    for kind in ("code", "prose"):
        texts += [prompt.text for prompt in held_out_prompts() if prompt.kind == kind][:TRIALS_OF_A_KIND]
    most = max(1, min(TRIAL_PROMPT, room))
    cut = [encode(text)[:most] for text in texts]
    half = cut[0][: max(1, most // 2)]
    return [*cut, half + half[1:]]


def read_measured(path: Path) -> Measurements:
    """Read an earlier measurement: a run or results folder that holds one, or its manifest.

    Raises:
        UsageError: There is none.
    """
    file = path / "manifest.json" if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            held = parse_object(opened.read(MAX_BYTES + 1), str(file), most_bytes=MAX_BYTES)
    except OSError as problem:
        raise UsageError(f"cannot read {file}: {problem.strerror}") from None
    except CheckpointError as problem:
        raise UsageError(str(problem)) from None
    choices = held.get("choices")
    return Measurements.from_json(choices.get("measured") if isinstance(choices, dict) else held, str(file))
