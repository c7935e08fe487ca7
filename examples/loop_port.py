"""A port around an engine that owns its loop: `specwb diff --fused examples.loop_port:factory --prompt FILE`.

A serving engine is not a set of six functions: it has a loop of its own, and calls back at some places. Here
the loop runs in a thread and stops at each callback until the stage of that name is asked for, so that it
decodes as it always does and the workbench sees stage after stage. What it hands to its callbacks is its own;
the values that the workbench passes along are the same, up to the first finding, where the run ends.

Such a path has no `snapshot`, since a loop cannot be copied: that it gives the same twice is not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any

from examples.level_port import LevelPort
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import (
    Accepted,
    Committed,
    DecodePath,
    Drafted,
    Prefilled,
    Stages,
    StageWatch,
    Tensorized,
    Verified,
)

Callback = Callable[[str, Any], None]


class Engine:
    """Stands for the engine: one request after the other, and a callback where something is done."""

    def __init__(self, pair: ModelPair, settings: DecodeSettings, dtype: str) -> None:
        self.parts = LevelPort(pair, settings, dtype)
        self.limit = settings.max_new_tokens

    def generate(self, prompt: Sequence[int], watch: StageWatch, callback: Callback) -> None:
        """Decode a request to its end."""
        parts, state = self.parts, self.parts.begin(watch)
        callback("prefill", parts.prefill(state, prompt))
        emitted, is_done = 1, False
        while not is_done:
            drafted = parts.draft(state)
            callback("draft", drafted)
            tree = parts.tensorize(state, drafted)
            callback("tensorize", tree)
            verified = parts.verify(state, tree)
            callback("verify", verified)
            accepted = parts.accept(state, tree, verified, self.limit - emitted)
            callback("accept", accepted)
            callback("commit", parts.commit(state, tree, verified, accepted))
            emitted += len(accepted.emitted_token_ids)
            is_done = accepted.stop_reason is not None


@dataclass
class Loop:
    """A request under way: the state of this path.

    Attributes:
        watch: Told by the engine's parts what is about to run.
        asked, given: Stages that were asked for; what the loop handed to its callbacks, or raised.
    """

    watch: StageWatch
    asked: SimpleQueue[str]
    given: SimpleQueue[tuple[str, Any]]

    def start(self, engine: Engine, prompt: Sequence[int]) -> None:
        """Begin a request; one that was under way stays at its callback and is not asked again."""
        self.asked, self.given = SimpleQueue(), SimpleQueue()
        Thread(target=self._run, args=(engine, prompt, self.asked, self.given), daemon=True).start()

    def result_of(self, stage: str) -> Any:
        """Let the loop run to its next callback, which must be that of the stage."""
        self.asked.put(stage)
        name, result = self.given.get()
        if isinstance(result, BaseException):
            raise result
        if name != stage:
            raise RuntimeError(f"the engine was at {name} when {stage} was asked for")
        return result

    def _run(
        self,
        engine: Engine,
        prompt: Sequence[int],
        asked: SimpleQueue[str],
        given: SimpleQueue[tuple[str, Any]],
    ) -> None:
        def callback(stage: str, result: Any) -> None:
            given.put((stage, result))
            asked.get()

        asked.get()
        try:
            engine.generate(prompt, self.watch, callback)
        except BaseException as problem:  # noqa: BLE001  it is raised again where the stage was asked for
            given.put(("", problem))


def factory(pair: ModelPair, settings: DecodeSettings, *, device: str, dtype: str) -> DecodePath:
    """Build the path; see `tracing.stages.PathFactory`."""
    name = "float32" if dtype == "auto" else dtype
    engine = Engine(pair, settings, name)

    def prefill(loop: Loop, prompt: Sequence[int]) -> Prefilled:
        loop.start(engine, prompt)
        result: Prefilled = loop.result_of("prefill")
        return result

    def draft(loop: Loop) -> Drafted:
        result: Drafted = loop.result_of("draft")
        return result

    def tensorize(loop: Loop, _drafted: Drafted) -> Tensorized:
        result: Tensorized = loop.result_of("tensorize")
        return result

    def verify(loop: Loop, _tree: Tensorized) -> Verified:
        result: Verified = loop.result_of("verify")
        return result

    def accept(loop: Loop, _tree: Tensorized, _verified: Verified, _remaining: int) -> Accepted:
        result: Accepted = loop.result_of("accept")
        return result

    def commit(loop: Loop, _tree: Tensorized, _verified: Verified, _accepted: Accepted) -> Committed:
        result: Committed = loop.result_of("commit")
        return result

    return DecodePath(
        name="loop-port",
        stages=Stages(
            prefill=prefill, draft=draft, tensorize=tensorize, verify=verify, accept=accept, commit=commit
        ),
        begin=lambda watch: Loop(watch, SimpleQueue(), SimpleQueue()),
        lacks=frozenset({"slots", "draft_top1_offsets"}),
        info={"device": device, "dtype": name},
    )
