"""`--fused package.module:factory`: a user's own path."""

from __future__ import annotations

import importlib
import os
import sys
from typing import cast

from tracing.errors import UsageError
from tracing.stages import DecodePath, PathFactory


def load_factory(name: str) -> PathFactory:
    """Import a `tracing.stages.PathFactory` by its `package.module:factory` name.

    The current folder is searched last, so that nothing in it shadows an installed package.

    Raises:
        UsageError: No such module or attribute, or it cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"--fused should be package.module:factory, got {name!r}")
    if os.getcwd() not in sys.path:  # noqa: PTH109  sys.path holds text
        sys.path.append(os.getcwd())  # noqa: PTH109
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(f"--fused {name}: cannot import {module_name} ({error})") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise UsageError(f"--fused {name}: {module_name} has no callable {attribute}")
    return cast("PathFactory", factory)


def checked_path(name: str, path: object) -> DecodePath:
    """Return `path` if a factory really made a `DecodePath` with at least one stage.

    Raises:
        UsageError: It made something else.
    """
    if not isinstance(path, DecodePath):
        raise UsageError(f"--fused {name} should return tracing.stages.DecodePath, got {type(path).__name__}")
    if all(stage is None for stage in _stages(path)):
        raise UsageError(f"--fused {name} returned a path without a single stage; nothing could be checked")
    return path


def _stages(path: DecodePath) -> tuple[object, ...]:
    stages = path.stages
    return (stages.prefill, stages.draft, stages.tensorize, stages.verify, stages.accept, stages.commit)
