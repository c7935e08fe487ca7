"""The bench of the shipped pair: trained weights, a prompt of prose, a tree of 24 nodes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Final

from tracing.settings import DecodeSettings
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.shipped import shipped_pair_dirs, shipped_prompt
from workbench.faults.bench import VARIANTS
from workbench.faults.experiment import Alone, run_free
from workbench.faults.placement import Placement
from workbench.faults.setup import Setup

PROMPT: Final = "prose.txt"
SETTINGS: Final = DecodeSettings(tree_nodes=24, depth=4, top_k=6, max_new_tokens=20)


class ShippedBench:
    """The pair that ships with the package."""

    name = "shipped"

    def setup(self, need: str) -> Setup:
        """Return the job that has what a fault needs, a key of `setup.NEEDS`."""
        return _shipped(need)

    def clean(self, need: str) -> Alone:
        """Return the same job decoded alone without a fault."""
        return _shipped_clean(need)

    def export(self, folder: Path) -> tuple[Path, Path]:
        """Copy the pair's checkpoints below `folder`; return the directories, teacher first."""
        teacher, drafter = (Path(copytree(source, folder / source.name)) for source in shipped_pair_dirs())
        return teacher, drafter


@cache
def _shipped(need: str) -> Setup:
    loaded = load_pair(*shipped_pair_dirs())
    text = shipped_prompt(PROMPT).read_text(encoding="utf-8")
    plain = Setup(
        pair=loaded.pair,
        prompt=tuple(loaded.tokenizer.encode(text)),
        settings=SETTINGS,
        token_bytes=loaded.tokenizer.token_bytes,
    )
    return VARIANTS[need](plain)


@cache
def _shipped_clean(need: str) -> Alone:
    return run_free(_shipped(need), Placement())
