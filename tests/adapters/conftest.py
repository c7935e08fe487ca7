"""Commands, as the tests of the command line run them."""

from __future__ import annotations

from tests.cli.conftest import specwb

__all__ = ["specwb"]
