"""Records the small runs of `traces/`: `python -m pages.traces [FOLDER]`.

One clean run, four with a fault that begins at step 2, and one whose writer was killed inside a launch: all
on the tiny pair, so that each is small and a moment's work. One more is of the shipped pair, with a context
long enough and trees wide enough that its drafter looks back over every distance.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tracing.distances import DEFAULT_EDGES, MANIFEST_KEY
from tracing.settings import DecodeSettings
from tracing.stages import Committed
from workbench.faults.bench import shipped_bench, tiny_bench
from workbench.faults.catalogue import BY_NAME
from workbench.faults.experiment import Setup, run_lockstep
from workbench.faults.placement import Placement, Scene, Spoil, after, on_function
from workbench.fused import verify

FIRST_BAD_STEP: Final = 2
DIES_AT_STEP: Final = 3
KILLED: Final = 9


def stale_row(made: Committed, scene: Scene) -> Committed:
    """The row before takes the place of the last committed one, in the first layer."""
    layer = scene.state.caches.main_cache.layers[0]
    layer.keys[:, :, made.committed_len_after - 1] = layer.keys[:, :, made.committed_len_after - 2]
    return made


def dies_in_a_launch() -> Placement:
    """The process ends while verify prepares its launch, as after `kill -9`; the journal has its inputs."""
    steps = itertools.count()

    def dying(original: Callable[[Any], Any], visible: Any) -> Any:
        if next(steps) == DIES_AT_STEP:
            os._exit(KILLED)
        return original(visible)

    return on_function(verify, "blocked_from_visible")(dying)


FAULTY: Final[Mapping[str, tuple[str, Spoil]]] = {
    "sibling-leak": ("tensorize", BY_NAME["sibling-leak"].spoil),
    "position-off-by-one": ("tensorize", BY_NAME["position-one-too-far"].spoil),
    "stale-row": ("commit", stale_row),
    "wrong-parent": ("tensorize", BY_NAME["parent-renamed"].spoil),
}
"""Folder name to the stage that is spoiled from the first bad step on, and how."""
TRUNCATED: Final = "truncated"
LONG: Final = "long"
LONG_PROMPT: Final = 600
"""Tokens of the long run's prompt."""


def record(folder: Path) -> None:
    """Record all runs anew below `folder`; what lies there under their names is replaced."""
    for name in ("clean", *FAULTY, TRUNCATED, LONG):
        shutil.rmtree(folder / name, ignore_errors=True)
    _run(folder / "clean", Placement())
    run_lockstep(_long(), Placement(), folder / LONG, manifest=_manifest("tiny-pangu"))
    for name in FAULTY:
        _run(folder / name, late_fault(name))
    child = multiprocessing.get_context("spawn").Process(target=_truncated, args=(folder / TRUNCATED,))
    child.start()
    child.join()
    if child.exitcode != KILLED:
        raise RuntimeError(f"the recording of {TRUNCATED} should have been killed, got {child.exitcode}")


def late_fault(name: str) -> Placement:
    """Return the fault of a folder of that name, from the first bad step on."""
    stage, spoil = FAULTY[name]
    return after(stage, since=FIRST_BAD_STEP)(spoil)


def _truncated(folder: Path) -> None:
    _run(folder, dies_in_a_launch())


def _run(folder: Path, placement: Placement) -> None:
    """Record one run; a violated launch is run, so that the trace shows the whole faulty step."""
    setup, manifest = tiny_bench().setup("plain"), _manifest("tiny")
    run_lockstep(setup, placement, folder, manifest=manifest, on_violation="launch")


def _long() -> Setup:
    """Return the shipped pair's job over its prompt again and again, with trees of full size."""
    setup = shipped_bench().setup("plain")
    prompt = (setup.prompt * LONG_PROMPT)[:LONG_PROMPT]
    return replace(setup, prompt=prompt, settings=DecodeSettings(max_new_tokens=24))


def _manifest(pair: str) -> dict[str, Any]:
    return {
        "argv": ["python", "-m", "pages.traces"],
        "models": {"teacher": pair, "drafter": pair},
        MANIFEST_KEY: list(DEFAULT_EDGES),
    }


def main(arguments: list[str]) -> int:
    """Record below the named folder, `traces` without one."""
    record(Path(arguments[0]) if arguments else Path("traces"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
