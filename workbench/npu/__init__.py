"""The border to Ascend's operators: backends, contracts, CPU emulations, and the watch.

Importing this package imports no torch; `bootstrap.bootstrap()` comes first, then everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracing.moment import Moment
    from workbench.npu.call_watch import Watch
    from workbench.npu.observations import WatchTrace


def watch(
    trace: WatchTrace | None = None, *, path: str = "fused", moment: Callable[[], Moment] | None = None
) -> Watch:
    """Watch the calls of this thread inside a `with` block; results never change.

    Args:
        trace: Takes index sites and kernel lines, e.g. a recorder; None keeps them on the watch only.
        path: The path that findings name.
        moment: Returns the moment that a finding is given; `0:0:0` when None.
    """
    from workbench.npu.call_watch import Watch

    return Watch(trace, path=path, moment=moment)
