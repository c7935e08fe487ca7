"""Faults of attention windows: of the wrong width, of another layer, not applied at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from workbench.faults.fault import fault
from workbench.faults.placement import on_function
from workbench.fused import prefill, verify
from workbench.fused.drafters import eagle3

Build = Callable[..., Any]
COMPUTED: Final = ("JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS")
verify_fault: Final = partial(
    fault,
    stage="verify",
    noticed_by=("MASK009", "JUDGE-VERIFY-PREFIX", *COMPUTED),
    placed=on_function(verify, "packed_visible"),
    need="windows",
)


@verify_fault("F-WIN-01", "hf#48280")
def window_one_wider(build: Build, *arguments: Any) -> Any:
    """A layer with a window sees one token more than the window holds."""
    *tree, window = arguments
    return build(*tree, window + 1 if window else 0)


@verify_fault("F-WIN-02", "sgl#39287")
def window_ignored(build: Build, *arguments: Any) -> Any:
    """Every layer sees the whole context while a tree is verified."""
    return build(*arguments[:-1], 0)


@verify_fault("F-WIN-03", "a mask that is built once and kept for all kinds of layers")
def window_of_another_layer(build: Build, engine: Any, *arguments: Any) -> Any:
    """Layers with and without a window have each other's masks."""
    *tree, window = arguments
    return build(engine, *tree, 0 if window else max(engine.teacher.windows))


@fault(
    "F-WIN-04",
    "hf#48280",
    stage="prefill",
    noticed_by=("JUDGE-PREFILL-KV", "JUDGE-PREFILL-FEATURES", "JUDGE-PREFILL-LOGITS"),
    placed=on_function(prefill, "causal_visible"),
    need="windows",
)
def window_one_narrower_in_prefill(build: Build, rows: int, keys: int, window: int, device: Any) -> Any:
    """A layer with a window sees one token less than the window holds while a context is read."""
    return build(rows, keys, window - 1, device)


@fault(
    "F-WIN-05",
    "a drafter's window that is read from the teacher's configuration",
    stage="draft",
    noticed_by=("JUDGE-DRAFT-SCORES", "JUDGE-DRAFT-CANDIDATES", "DRAFT004"),
    placed=on_function(eagle3, "within_window"),
    need="windows",
)
def drafter_window_ignored(build: Build, queries: Any, keys: Any, _: int) -> Any:
    """The drafter's window is not applied to the rows of its beams."""
    return build(queries, keys, 0)
