"""Operators and tree chosen by measurement, once per results folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tracing.settings import DecodeSettings
from workbench.bench.chosen import kernels_study, tree_study
from workbench.bench.session import BenchSession
from workbench.bench.store import ResultsFolder
from workbench.bench.suite import shipped_prompts
from workbench.checkpoints.shipped import held_out_prompts
from workbench.fused.engine import Engine
from workbench.fused.path import path_over
from workbench.lockstep.choice.decoders import Decoder
from workbench.lockstep.choice.kernels import choose_kernels, eager_name
from workbench.lockstep.choice.tree import TreeChooser, shape_name

TRIAL_TREE: Final = DecodeSettings(tree_nodes=8, depth=4, top_k=2)
CALIBRATION_TOKENS: Final = (96, 256, 512, 1024)
"""Lengths of the calibration contexts, as different as the suite's: a wide tree pays for a long one."""
NUM_PROSE: Final = 2
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Choices:
    """The settings that a benchmark runs with.

    Attributes:
        settings: The tree.
        eager: Operators that run as plain torch.
    """

    settings: DecodeSettings
    eager: frozenset[str]

    def as_text(self) -> dict[str, str]:
        """Return both as text."""
        return {"tree": shape_name(self.settings), "eager": eager_name(self.eager)}


def make_choices(
    session: BenchSession,
    folder: ResultsFolder,
    tree: DecodeSettings | None,
    eager: frozenset[str] | None,
    progress: Progress,
) -> Choices:
    """Return what was asked for (not None), what the folder keeps, or else what is measured now."""
    prompts = calibration_prompts(session)
    if eager is None:
        kept = folder.manifest.get("kernels")
        eager = frozenset(kept["eager"]) if kept else _measured_kernels(session, folder, prompts, progress)
    if tree is None:
        kept = folder.manifest.get("tree")
        if kept:
            nodes, depth, top_k = map(int, kept["tree"].split("/"))
            tree = DecodeSettings(tree_nodes=nodes, depth=depth, top_k=top_k)
        else:
            tree = _measured_tree(session, folder, eager, prompts, progress)
    return Choices(replace(tree, max_new_tokens=session.max_new_tokens), eager)


def calibration_prompts(session: BenchSession) -> list[list[int]]:
    """Return contexts that no suite measures: the start of each long text, and short held-out prose."""
    room = session.pair.teacher.max_position_embeddings // 2
    long = [prompt.turns[0] for prompt in shipped_prompts() if prompt.kind == "length"]
    prose = [prompt.text for prompt in held_out_prompts() if prompt.kind == "prose"]
    cut = list(zip(long, itertools.cycle(CALIBRATION_TOKENS)))
    texts = [*cut, *((text, room) for text in prose[:NUM_PROSE])]
    return [session.tokens(text)[: min(length, room)] for text, length in texts]


def _measured_kernels(
    session: BenchSession, folder: ResultsFolder, prompts: list[list[int]], progress: Progress
) -> frozenset[str]:
    progress("operators, fused and eager")

    def decoders(eager: frozenset[str]) -> tuple[Decoder, Decoder]:
        engine = session.engine(TRIAL_TREE, eager)
        return session.greedy(engine), session.speculative(engine)

    kernels = choose_kernels(decoders, prompts[0])
    folder.keep(kernels_study(kernels))
    folder.choose("kernels", kernels.as_json())
    return kernels.eager


def _measured_tree(
    session: BenchSession,
    folder: ResultsFolder,
    eager: frozenset[str],
    prompts: list[list[int]],
    progress: Progress,
) -> DecodeSettings:
    engine = session.engine(TRIAL_TREE, eager)
    chosen = TreeChooser(
        make_path=lambda settings: path_over(with_tree(engine, settings)),
        decoder=lambda settings: session.speculative(with_tree(engine, settings)),
        greedy=session.greedy(engine),
        stopwatch=session.stopwatch,
        prompts=prompts,
        max_top_k=len(session.pair.target_from_draft),
        max_new_tokens=session.max_new_tokens,
        progress=progress,
    ).choose()
    folder.keep(tree_study(chosen))
    folder.choose("tree", chosen.as_json())
    return chosen.settings


def with_tree(engine: Engine, shape: DecodeSettings) -> Engine:
    """Return the same models with another tree."""
    settings = replace(engine.settings, tree_nodes=shape.tree_nodes, depth=shape.depth, top_k=shape.top_k)
    return replace(engine, settings=settings)
