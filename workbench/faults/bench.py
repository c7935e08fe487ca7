"""Benches: a pair and a prompt, and the job derived from them that has what a fault needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from shutil import copytree
from typing import Any, Final

import numpy as np
import torch

from tracing.errors import UsageError
from tracing.models import MedusaConfig
from tracing.settings import DecodeSettings
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.quantised import parse_weights, quantised_teacher
from workbench.checkpoints.shipped import shipped_pair_dirs, shipped_prompt
from workbench.faults.experiment import FreeDecode, Setup, run_free
from workbench.faults.files import export_tiny
from workbench.faults.placement import Placement
from workbench.faults.setups import OFF_BY, drafting_model, drawing, experts_for_mlps, twin_experts
from workbench.faults.tiny import tiny_pair, token_bytes
from workbench.fused.drafters.lookup import look_up
from workbench.lockstep.session.request import pair_directories

LONG: Final = 512
PAGE: Final = 16
WINDOW: Final = 6
STATIC_TREE: Final = "0 1 2 0.0 0.1 1.0 0.0.0 0.0.1 0.1.0"
BOUND: Final = 0.3
LOOKED_UP: Final = 32
"""Prompt tokens that are repeated for prompt lookup."""


def _sampled(setup: Setup) -> Setup:
    """Sample from as many tokens that some candidates of a beam have no probability, and few."""
    kept = setup.settings.top_k - 1
    return _with_settings(setup, temperature=1.5, sampling_top_k=kept, acceptance="eagle")


def _with_settings(setup: Setup, **settings: Any) -> Setup:
    return replace(setup, settings=replace(setup.settings, **settings))


def _pads(setup: Setup) -> Setup:
    """One level of candidates, and four rows more than that."""
    top_k = setup.settings.top_k
    return _with_settings(setup, depth=0, tree_nodes=top_k + 5)


def _long(setup: Setup) -> Setup:
    """The prompt again and again, to beyond 512 columns; two steps are enough."""
    prompt = (setup.prompt * LONG)[: LONG + 16]
    return _with_settings(replace(setup, prompt=prompt), max_new_tokens=4)


def _windows(setup: Setup) -> Setup:
    """The teacher's first layer has a window, the others have none; the drafter has a narrower one."""
    teacher = replace(setup.pair.teacher, sliding_window=WINDOW, windowed_layers=(0,))
    drafter = replace(setup.pair.drafter, window=WINDOW - 2)
    prompt = (setup.prompt * 4 * WINDOW)[: 4 * WINDOW]
    return replace(setup, pair=replace(setup.pair, teacher=teacher, drafter=drafter), prompt=prompt)


def _eos(setup: Setup) -> Setup:
    """A token that a clean run accepts from a draft becomes the end of sequence."""
    pair = replace(setup.pair, eos_token_ids=frozenset({accepted_token(setup)}))
    return replace(setup, pair=pair)


def _rejected_eos(setup: Setup) -> Setup:
    """A token that the first tree holds, and that no clean run emits, becomes the end of sequence."""
    clean = run_free(setup, Placement())
    token = min(clean.first_tree - set(clean.emitted))
    return replace(setup, pair=replace(setup.pair, eos_token_ids=frozenset({token})))


def _ties(setup: Setup) -> Setup:
    """A token that a clean run emits gets a twin with a higher id and the same row in the head."""
    emitted = run_free(setup, Placement()).emitted
    chosen = emitted[1]
    weights = dict(setup.pair.teacher_weights)
    head = weights["lm_head.weight"].clone()
    twin = next(token for token in range(len(head) - 1, chosen, -1) if token not in emitted)
    head[twin] = head[chosen]
    return replace(setup, pair=replace(setup.pair, teacher_weights={**weights, "lm_head.weight": head}))


def _medusa(setup: Setup) -> Setup:
    """The drafter gives way to three Medusa heads of two blocks each, on a tree of ten nodes."""
    random = torch.Generator().manual_seed(7)
    head = setup.pair.teacher_weights["lm_head.weight"].float()
    vocab_size, hidden = head.shape
    weights = {}
    for number in range(3):
        for layer in range(2):
            block = f"blocks.{number}.layers.{layer}"
            weights[f"{block}.weight"] = torch.randn(hidden, hidden, generator=random) * hidden**-0.5
            weights[f"{block}.bias"] = torch.randn(hidden, generator=random)
        noise = torch.randn(head.shape, generator=random) * head.std()
        weights[f"lm_heads.{number}.weight"] = head + OFF_BY * noise
    pair = replace(
        setup.pair,
        drafter=MedusaConfig(hidden, 3, 2, vocab_size),
        drafter_weights=weights,
        target_from_draft=None,
        proposer="medusa",
    )
    return _with_settings(replace(setup, pair=pair), tree_nodes=10, static_tree=STATIC_TREE)


def _lookup(setup: Setup) -> Setup:
    """The drafter gives way to prompt lookup; the prompt holds its own continuation, and places alike."""
    prompt, emitted = setup.prompt[:LOOKED_UP], run_free(setup, Placement()).emitted
    pair = replace(setup.pair, drafter=None, drafter_weights={}, target_from_draft=None, proposer="lookup")
    first = emitted[:1]
    repeated = (*first, *prompt, *prompt, *emitted, *prompt, *first, *prompt)
    return _with_settings(replace(setup, pair=pair, prompt=repeated), tree_nodes=6, lookup_max=3)


def _lookup_eos(setup: Setup) -> Setup:
    """A token that is looked up, and not emitted before, ends a text."""
    looking = _lookup(setup)
    clean = run_free(looking, Placement())
    num_emitted = 1
    for num_accepted in clean.num_accepted:
        text = np.array([*looking.prompt, *clean.emitted[:num_emitted]])
        found = look_up(text, looking.settings, looking.pair.teacher.max_position_embeddings, text[:0])
        for token in found.tolist():
            if token not in clean.emitted[:num_emitted]:
                return replace(looking, pair=replace(looking.pair, eos_token_ids=frozenset({token})))
        num_emitted += num_accepted + 1
    raise UsageError("the clean run looks nothing up but what it emitted, so that no token can end the text")


def _int4(setup: Setup, weights: str) -> Setup:
    """The teacher's linear layers are rounded to int4, in groups where a layer is wide enough."""
    quantisation = parse_weights(weights)
    assert quantisation is not None
    teacher, rounded = quantised_teacher(setup.pair.teacher, setup.pair.teacher_weights, quantisation)
    return replace(setup, pair=replace(setup.pair, teacher=teacher, teacher_weights=rounded))


def accepted_token(setup: Setup) -> int:
    """Return a token that a clean run accepts from a draft, the first of its kind in the text."""
    clean = run_free(setup, Placement())
    place = 1
    for num_accepted in clean.num_accepted:
        for token in clean.emitted[place : place + num_accepted]:
            if token not in clean.emitted[:place]:
                return token
        place += num_accepted + 1
    raise UsageError("the clean run accepts no draft, so that no end of sequence can be put into a path")


@dataclass(frozen=True, slots=True)
class Need:
    """What a run must have for a fault to show.

    Attributes:
        about: A few words.
        change: The plain job, changed so that it has it.
    """

    about: str
    change: Callable[[Setup], Setup]


NEEDS: Final[Mapping[str, Need]] = {
    "plain": Need("a tree without pads, float32", lambda setup: setup),
    "pads": Need("more rows than the drafter has candidates", _pads),
    "paged_pads": Need(
        "a paged cache, and more rows than the drafter has candidates",
        lambda setup: _with_settings(_pads(setup), kv_layout="paged", block_size=PAGE),
    ),
    "long": Need("more than 512 KV columns", _long),
    "eos": Need("an end-of-sequence token inside an accepted path", _eos),
    "rejected_eos": Need("an end-of-sequence token that is drafted and never chosen", _rejected_eos),
    "long_bfloat16": Need(
        "a path in bfloat16 with more than 512 KV columns",
        lambda setup: replace(_long(setup), dtype="bfloat16"),
    ),
    "bounded": Need(
        "a bound that ends some searches early", lambda setup: _with_settings(setup, stop_below=BOUND)
    ),
    "medusa": Need("three Medusa heads on a static tree", _medusa),
    "draft_model": Need("a draft model, a copy of the teacher with noise", drafting_model),
    "lookup": Need("prompt lookup over a prompt that repeats itself", _lookup),
    "lookup_eos": Need("prompt lookup over a prompt with an end-of-sequence token", _lookup_eos),
    "windows": Need("windows, of some of the teacher's layers and of the drafter", _windows),
    "w4a16": Need("a teacher in int4 as GPTQ ships it", lambda setup: _int4(setup, "w4a16:gptq:32")),
    "w4a16_awq": Need("a teacher in int4 as AWQ ships it", lambda setup: _int4(setup, "w4a16:awq:32")),
    "experts": Need("a teacher with experts in groups", experts_for_mlps),
    "twin_experts": Need("experts that the router cannot tell from each other", twin_experts),
    "ties": Need("two tokens with the same row in the teacher's head", _ties),
    "sampled": Need("sampling by EAGLE's posterior, with draws at the edges", _sampled),
    "drawn": Need("chains drawn from a draft model's law", drawing),
    "length": Need(
        "a commit by length was asked for", lambda setup: _with_settings(setup, commit_mode="length")
    ),
}


class Bench:
    """A pair and a prompt.

    Args:
        name: Name of the bench, for reports.
        about: One sentence about it.
        plain: Makes the job without any need.
        export: Writes the pair's checkpoints below a folder; returns the directories, teacher first.
    """

    def __init__(
        self, name: str, about: str, plain: Callable[[], Setup], export: Callable[[Path], tuple[Path, Path]]
    ) -> None:
        self.name = name
        self.about = about
        self.export = export
        self._plain = plain
        self._setups: dict[str, Setup] = {}
        self._clean: dict[str, FreeDecode] = {}

    def on(self, device: str) -> Bench:
        """Return the same bench with the path under test on another device."""
        return Bench(self.name, self.about, lambda: replace(self._plain(), device=device), self.export)

    def setup(self, need: str) -> Setup:
        """Return the job that has what a fault needs, a key of `NEEDS`."""
        if need not in self._setups:
            self._setups[need] = NEEDS[need].change(self._plain())
        return self._setups[need]

    def clean(self, need: str) -> FreeDecode:
        """Return the same job decoded freely without a fault."""
        if need not in self._clean:
            self._clean[need] = run_free(self.setup(need), Placement())
        return self._clean[need]


@cache
def tiny_bench(proposer: str = "eagle3") -> Bench:
    """Return the bench of the tiny pair: a run takes a moment.

    Raises:
        UsageError: The tiny pair has no drafter of this kind.
    """
    if proposer != tiny_pair().proposer:
        raise UsageError(f"the tiny pair has no {proposer} drafter; give --shipped")
    about = "Two layers, random weights, a tree of 12 nodes, 16 tokens."
    return Bench("tiny", about, _tiny, export_tiny)


@cache
def shipped_bench(proposer: str = "eagle3") -> Bench:
    """Return the bench of the pair that ships with the package: trained weights, real text."""
    about = "The pair that ships with the package, a prompt of prose, a tree of 24 nodes, 20 tokens."
    return Bench("shipped", about, partial(_shipped, proposer), _copy_shipped)


def _tiny() -> Setup:
    return Setup(
        pair=tiny_pair(),
        prompt=(7, 19, 3, 50, 21),
        settings=DecodeSettings(tree_nodes=12, depth=3, top_k=4, max_new_tokens=16),
        token_bytes=token_bytes,
    )


@cache
def _shipped(proposer: str) -> Setup:
    loaded = load_pair(*pair_directories(None, None, proposer), proposer=proposer)
    text = shipped_prompt("prose.txt").read_text(encoding="utf-8")
    return Setup(
        pair=loaded.pair,
        prompt=tuple(loaded.tokenizer.encode(text)),
        settings=DecodeSettings(tree_nodes=24, depth=4, top_k=6, max_new_tokens=20),
        token_bytes=loaded.tokenizer.token_bytes,
    )


def _copy_shipped(folder: Path) -> tuple[Path, Path]:
    teacher, drafter = (Path(copytree(source, folder / source.name)) for source in shipped_pair_dirs())
    return teacher, drafter
