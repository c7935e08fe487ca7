"""The way from a symptom to its writer, as `specwb locate RUN` leaves it beside a trace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracing.errors import UsageError
from tracing.files import open_regular, replace_file
from tracing.moment import Moment

NAME: Final = "chain.json"
MAX_BYTES: Final = 1 << 20
MAX_LINKS: Final = 200


@dataclass(frozen=True, slots=True)
class Link:
    """One place on the way, what is seen first and what caused it after that.

    Attributes:
        moment: Where.
        text: What is wrong there.
    """

    moment: Moment
    text: str

    def as_json(self) -> dict[str, str]:
        """Return plain data."""
        return {"moment": str(self.moment), "text": self.text}


def write_chain(folder: Path, links: Sequence[Link]) -> None:
    """Keep the way beside a trace, in place of one that was there."""
    text = json.dumps([link.as_json() for link in links], indent=1)
    replace_file(folder / NAME, f"{text}\n".encode())


def read_chain(folder: Path) -> tuple[Link, ...]:
    """Return the way that was kept; empty where there is none that can be read."""
    try:
        with open_regular(folder / NAME) as file:
            data = json.loads(file.read(MAX_BYTES))
        return tuple(Link(Moment.parse(each["moment"]), str(each["text"])) for each in data[:MAX_LINKS])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, UsageError, RecursionError):
        return ()
