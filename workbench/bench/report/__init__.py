"""Pictures and the page of a benchmark, drawn by a library that only the extra `bench` installs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracing.errors import EnvironmentProblemError
from workbench.bench.tables import Study


def page_of_studies(studies: Sequence[Study], manifest: Mapping[str, Any], title: str) -> str:
    """Return the whole page.

    Raises:
        EnvironmentProblemError: The extra that draws it is not installed.
    """
    try:
        from workbench.bench.report.page import page
    except ImportError as missing:
        raise EnvironmentProblemError(
            f"{missing.name} is not installed; pip install 'specwb[bench]'"
        ) from None
    return page(studies, manifest, title=title)
