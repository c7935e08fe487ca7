"""Operators and draft settings chosen by measurement, once per results folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tracing.settings import DecodeSettings
from tracing.static_tree import named_trees, static_tree
from workbench.bench.chosen import kernels_study, lookup_study, static_study, tree_study
from workbench.bench.session import TRIAL_TREE, BenchSession, trial_settings
from workbench.bench.store import ResultsFolder
from workbench.bench.suite import shipped_prompts
from workbench.checkpoints.shipped import held_out_prompts
from workbench.fused.engine import Engine
from workbench.fused.path import path_over
from workbench.lockstep.choice.decoders import Decoder
from workbench.lockstep.choice.kernels import choose_kernels, eager_name
from workbench.lockstep.choice.lookup import LookupChooser
from workbench.lockstep.choice.static import StaticTreeChooser, static_settings
from workbench.lockstep.choice.tree import TreeChooser, shape_name

CALIBRATION_TOKENS: Final = (96, 256, 512, 1024)
"""Lengths of the calibration contexts, as different as the suite's: a wide tree pays for a long one."""
NUM_PROSE: Final = 2
CHOSEN: Final = "drafts"
"""Manifest entry of the chosen draft settings, by proposer."""
DRAFT_FIELDS: Final = {
    "eagle3": ("tree_nodes", "depth", "top_k", "stop_below"),
    "draft_model": ("tree_nodes", "depth", "top_k", "stop_below"),
    "medusa": ("tree_nodes", "static_tree"),
    "lookup": ("tree_nodes", "lookup_rule", "lookup_min", "lookup_max"),
}
"""Settings that are chosen for each kind of drafter."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user fixed; None is left to measurement.

    Attributes:
        tree: Of a beam search; its nodes are those of a lookup too.
        static_tree: Of Medusa heads, as `tracing.static_tree` reads it.
        eager: Operators that run as plain torch, on all sides.
    """

    tree: DecodeSettings | None = None
    static_tree: str | None = None
    eager: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """The settings that a proposer runs with.

    Attributes:
        settings: How it drafts.
        eager: Operators that run as plain torch, on the speculative side.
        greedy_eager: The same for teacher-only decoding: the fastest that was measured.
    """

    settings: DecodeSettings
    eager: frozenset[str]
    greedy_eager: frozenset[str] = field(default_factory=frozenset)
    proposer: str = "eagle3"

    def as_text(self) -> dict[str, str]:
        """Return all in words."""
        return {
            "tree": draft_name(self.proposer, self.settings),
            "eager": eager_name(self.eager),
            "greedy": eager_name(self.greedy_eager),
        }


def draft_name(proposer: str, settings: DecodeSettings) -> str:
    """Return how a proposer drafts, in a few characters."""
    if proposer == "medusa":
        nodes = 1 + len(static_tree(settings.static_tree))
        return settings.static_tree if settings.static_tree in named_trees() else f"{nodes} nodes, static"
    if proposer == "lookup":
        rule, most = settings.lookup_rule, settings.lookup_max
        return f"{settings.tree_nodes - 1} tokens, {most}-gram, {rule}"
    return shape_name(settings)


@dataclass(frozen=True, slots=True)
class _Calibration:
    """The setting in which choices are measured."""

    session: BenchSession
    folder: ResultsFolder
    prompts: list[list[int]]
    progress: Progress


def make_choices(session: BenchSession, folder: ResultsFolder, asked: Asked, progress: Progress) -> Choices:
    """Return what was asked for, what the folder keeps, or else what is measured now."""
    trial = replace(session, is_trial=True)
    setting = _Calibration(trial, folder, calibration_prompts(session), progress)
    eager, greedy_eager = _kernels(setting, asked)
    settings = replace(_settings(setting, asked, eager), max_new_tokens=session.max_new_tokens)
    return Choices(settings, eager, greedy_eager, session.proposer)


def calibration_prompts(session: BenchSession) -> list[list[int]]:
    """Return contexts that no suite measures: the start of each long text, and short held-out prose."""
    room = session.pair.teacher.max_position_embeddings // 2
    long = [prompt.turns[0] for prompt in shipped_prompts() if prompt.kind == "length"]
    prose = [prompt.text for prompt in held_out_prompts() if prompt.kind == "prose"]
    cut = list(zip(long, itertools.cycle(CALIBRATION_TOKENS)))
    texts = [*cut, *((text, room) for text in prose[:NUM_PROSE])]
    return [session.tokens(text)[: min(length, room)] for text, length in texts]


def _kernels(setting: _Calibration, asked: Asked) -> tuple[frozenset[str], frozenset[str]]:
    """Return the operators that run eagerly, speculatively and teacher-only; all proposers have the same."""
    session, folder = setting.session, setting.folder
    if asked.eager is not None:
        return asked.eager, asked.eager
    if "kernels" not in folder.manifest:
        setting.progress("operators, fused and eager")

        def decoders(eager: frozenset[str]) -> tuple[Decoder, Decoder]:
            engine = session.engine(trial_settings(session.proposer), eager)
            return session.greedy(engine), session.speculative(engine)

        kernels = choose_kernels(decoders, setting.prompts[0])
        folder.keep(kernels_study(kernels))
        folder.choose("kernels", kernels.as_json())
    kept = folder.manifest["kernels"]
    return frozenset(kept["eager"]), frozenset(kept["greedy_eager"])


def _settings(setting: _Calibration, asked: Asked, eager: frozenset[str]) -> DecodeSettings:
    proposer, folder = setting.session.proposer, setting.folder
    if proposer == "medusa" and asked.static_tree is not None:
        return static_settings(asked.static_tree, DecodeSettings())
    if proposer != "medusa" and asked.tree is not None:
        return asked.tree
    kept: Mapping[str, Any] = folder.manifest.get(CHOSEN, {})
    if proposer not in kept:
        measure = {"medusa": _static_tree, "lookup": _lookup}.get(proposer, _tree)
        settings, why = measure(setting, eager)
        chosen = {name: getattr(settings, name) for name in DRAFT_FIELDS[proposer]}
        folder.choose(CHOSEN, {**kept, proposer: {**why, **chosen}})
        kept = folder.manifest[CHOSEN]
    chosen = kept[proposer]  # an older folder knows no bound
    return DecodeSettings(**{name: chosen[name] for name in DRAFT_FIELDS[proposer] if name in chosen})


Found = tuple[DecodeSettings, dict[str, Any]]


def _tree(setting: _Calibration, eager: frozenset[str]) -> Found:
    session = setting.session
    engine = session.engine(TRIAL_TREE, eager)
    chosen = TreeChooser(
        make_path=lambda settings: path_over(with_tree(engine, settings)),
        decoder=lambda settings: session.speculative(with_tree(engine, settings)),
        greedy=session.greedy(engine),
        stopwatch=session.stopwatch,
        prompts=setting.prompts,
        max_top_k=session.max_top_k,
        max_new_tokens=session.max_new_tokens,
        progress=setting.progress,
    ).choose()
    setting.folder.keep(tree_study(chosen, study_name(session.proposer)))
    return chosen.settings, chosen.as_json()


def _static_tree(setting: _Calibration, eager: frozenset[str]) -> Found:
    session = setting.session
    found = StaticTreeChooser(
        base=DecodeSettings(),
        make_path=lambda settings: path_over(session.engine(settings, eager)),
        decoder=lambda settings: session.speculative(session.engine(settings, eager)),
        greedy=session.greedy(session.engine(trial_settings("medusa"), eager)),
        stopwatch=session.stopwatch,
        prompts=setting.prompts,
        num_heads=session.pair.drafter.num_heads,
        max_new_tokens=session.max_new_tokens,
        progress=setting.progress,
    ).choose()
    setting.folder.keep(static_study(found, study_name("medusa")))
    setting.folder.write(CHOICES_FILE, choices_file(found.settings.static_tree))
    return found.settings, {}


def _lookup(setting: _Calibration, eager: frozenset[str]) -> Found:
    session = setting.session
    setting.progress("prompt lookup")
    engine = session.engine(TRIAL_TREE, eager)
    chooser = LookupChooser(
        decoder=lambda settings: session.speculative(replace(engine, settings=settings)),
        prompts=setting.prompts,
        max_new_tokens=session.max_new_tokens,
    )
    settings, measured = chooser.choose()
    setting.folder.keep(lookup_study(measured, study_name("lookup")))
    return settings, {}


CHOICES_FILE: Final = "medusa_choices.json"


def choices_file(tree: str) -> str:
    """Return a static tree as a file of Medusa choices, which `--static-tree FILE` reads."""
    rows = (f"  {list(path)}" for path in static_tree(tree))
    return "[\n" + ",\n".join(rows) + "\n]\n"


def study_name(proposer: str) -> str:
    """Return the name of the study that says why a proposer drafts as it does."""
    return "tree" if proposer == "eagle3" else f"settings-{proposer.replace('_', '-')}"


def with_tree(engine: Engine, shape: DecodeSettings) -> Engine:
    """Return the same models with another tree."""
    searched = {name: getattr(shape, name) for name in DRAFT_FIELDS["eagle3"]}
    settings = replace(engine.settings, **searched)
    return replace(engine, settings=settings)
