"""What the main job costs as a user meets it: `specwb diff` on the demo's prompt, and replay of its run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from costs.row import Cost, Goal, Row
from costs.timing import Finished, middle, specwb
from costs.workshop import Workshop

PROMPT: Final = "code.txt"
REPLAY_TOKENS: Final = "32"
ONE_STEP: Final = ("--max-new-tokens", "1")
REPETITIONS: Final = 3
GOALS: Final = {"diff.demo": Goal(8), "diff.start": None}


def _diff(workshop: Workshop) -> Iterator[Row]:
    _needs_models()
    workshop.say("decoding the demo")
    done = [_decode(workshop.folder / f"demo-{number}") for number in range(REPETITIONS)]
    value, spread = middle([each.seconds for each in done])
    processor = middle([each.processor for each in done])[0]
    how = f"`specwb diff --prompt {PROMPT}` with its defaults, a process of its own, {REPETITIONS} times; "
    yield Row(
        name="diff.demo",
        value=value,
        unit="s",
        goal=GOALS["diff.demo"],
        spread=spread,
        how=f"{how}{processor:.1f} s of processor",
    )
    workshop.say("starting diff")
    starts = [_decode(workshop.folder / f"start-{number}", *ONE_STEP) for number in range(REPETITIONS)]
    value, spread = middle([each.seconds for each in starts])
    processor = middle([each.processor for each in starts])[0]
    how = f"`specwb diff` of one token, a process, {REPETITIONS} times; {processor:.1f} s of processor"
    yield Row(name="diff.start", value=value, unit="s", goal=GOALS["diff.start"], spread=spread, how=how)


def _replay(workshop: Workshop) -> Iterator[Row]:
    _needs_models()
    workshop.say("decoding a run to replay")
    run = workshop.once("replayed", lambda path: _decode(path, "--max-new-tokens", REPLAY_TOKENS).seconds)
    for name, options in (("recorded", ()), ("models", ("--model", "shipped", "--draft", "shipped"))):
        workshop.say(f"replaying ({name})")
        done = specwb("replay", str(run), *options, "--format", "json", allowed=(0, 4))
        steps = json.loads(done.stdout)["steps"]
        how = f"`specwb replay` of {steps} steps{' with the models' if options else ''}, start included, once"
        yield Row(name=f"replay.{name}", value=done.seconds / steps, unit="s/step", how=how)


def _decode(out: Path, *options: str) -> Finished:
    from workbench.checkpoints.shipped import shipped_prompt

    prompt = str(shipped_prompt(PROMPT))
    return specwb("diff", "--prompt", prompt, "--out", str(out), *options, allowed=(0, 4))


def _needs_models() -> None:
    """Say at once what is missing, by its own name.

    Raises:
        ModuleNotFoundError: A package of the extra `[decode]` is not there.
    """
    from importlib import import_module

    from workbench.npu.bootstrap import bootstrap

    bootstrap("auto")
    for name in ("torch", "transformers", "safetensors"):
        import_module(name)


COSTS: Final = (
    Cost("diff", dict(GOALS), _diff),
    Cost("replay", {"replay.recorded": None, "replay.models": None}, _replay),
)
