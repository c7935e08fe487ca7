"""Every drafter that ships on every prompt that ships, in two precisions and both layouts of the cache."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from clean.runs import Seen
from invariants.selection import Selection
from tracing.settings import KV_LAYOUTS, PROPOSERS, USUAL_TREE_NODES, DecodeSettings
from tracing.static_tree import static_tree
from workbench.checkpoints.load import LoadedPair, load_pair
from workbench.checkpoints.shipped import PROMPTS, shipped_prompt
from workbench.faults.experiment import Setup, run_lockstep
from workbench.faults.placement import Placement
from workbench.judge.recorded.check import check_run
from workbench.lockstep.session.prompts import read_prompts
from workbench.lockstep.session.request import pair_directories

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class ShippedJob:
    """One run.

    Attributes:
        proposer, prompt, dtype, layout: Kind of drafter; name of the prompt; precision; layout of the cache.
        max_new_tokens: Of each turn.
    """

    proposer: str
    prompt: str
    dtype: str
    layout: str
    max_new_tokens: int

    @property
    def about(self) -> str:
        """All in words."""
        return f"{self.proposer} {self.prompt} {self.dtype} {self.layout}"

    def setups(self) -> Iterator[Setup]:
        """Yield a run for each turn of the prompt, later texts appended as if nothing was decoded between."""
        loaded, token_ids = _loaded(self.proposer), list[int]()
        (prompt,) = read_prompts(str(shipped_prompt(self.prompt)))
        for number, text in enumerate(prompt.texts):
            token_ids = [*token_ids, *loaded.tokenizer.encode(text, special_tokens=number == 0)]
            yield Setup(
                pair=loaded.pair,
                prompt=tuple(token_ids),
                settings=usual_settings(self.proposer, self.layout, self.max_new_tokens),
                dtype=self.dtype,
                rung="cached",
                token_bytes=loaded.tokenizer.token_bytes,
            )


@cache
def _loaded(proposer: str) -> LoadedPair:
    return load_pair(*pair_directories(None, None, proposer), proposer=proposer)


def usual_settings(proposer: str, layout: str, max_new_tokens: int) -> DecodeSettings:
    """Return the settings that `specwb diff` has for a kind of drafter."""
    plain = DecodeSettings()
    usual = 1 + len(static_tree(plain.static_tree)) if proposer == "medusa" else USUAL_TREE_NODES[proposer]
    return DecodeSettings(tree_nodes=usual, kv_layout=layout, max_new_tokens=max_new_tokens)


def shipped_jobs(max_new_tokens: int) -> list[ShippedJob]:
    """Return all of them."""
    every = itertools.product(PROPOSERS, PROMPTS, DTYPES, KV_LAYOUTS)
    return [ShippedJob(*one, max_new_tokens) for one in every]


def shipped_run(job: ShippedJob) -> Seen:
    """Decode a prompt in lockstep, check its recordings, and return what was said against it."""
    num_steps, alarms = 0, list[str]()
    for number, setup in enumerate(job.setups()):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            try:
                found = run_lockstep(setup, Placement(), run).findings
                checked = check_run(str(run), Selection())
            except Exception as error:  # noqa: BLE001  a crash is as bad as an alarm
                alarms.append(f"{job.about} turn {number}: {type(error).__name__}: {error}")
                continue
        num_steps += checked.num_steps
        alarms += [
            f"{job.about} turn {number}: {each.rule} at {each.moment}: {each.message}"
            for each in (*found, *checked.findings)
            if each.severity == "error"
        ]
    return Seen(job.about, num_steps, tuple(alarms))
