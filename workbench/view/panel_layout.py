"""Which panels a screen shows: as many as it has room for, or the active one alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workbench.view.step import Sight

FIRST_PANELS: Final = ("tree", "visible", "acceptance", "findings")
"""What the four slots show at first; a small screen has room for the first one or two."""

WIDE, TALL = 120, 40
"""Columns and lines from which on there is room for more panels."""


@dataclass(slots=True)
class PanelSlot:
    """A place for one panel.

    Attributes:
        drawn_of: Panel and sight that its lines were drawn of, None before the first.
    """

    panel: str
    drawn_of: tuple[str, Sight] | None = None

    @property
    def shown(self) -> str:
        """The panel whose lines it shows."""
        return self.panel if self.drawn_of is None else self.drawn_of[0]


class PanelLayout:
    """Slots of a screen, how many it has room for, and whether the active one is shown alone."""

    def __init__(self) -> None:
        self.slots = [PanelSlot(panel) for panel in FIRST_PANELS]
        self.num_slots = 1
        self.zoomed = False
        self._active = 0

    @property
    def active(self) -> int:
        """Number of the slot that had the focus last."""
        return min(self._active, self.num_slots - 1)

    @active.setter
    def active(self, number: int) -> None:
        if number < self.num_slots:
            self._active = number

    @property
    def active_slot(self) -> PanelSlot:
        """The slot that had the focus last."""
        return self.slots[self.active]

    @property
    def room(self) -> list[PanelSlot]:
        """Slots that the screen has room for."""
        return self.slots[: self.num_slots]

    @property
    def visible(self) -> tuple[int, ...]:
        """Numbers of the slots that are shown now."""
        return (self.active,) if self.zoomed else tuple(range(self.num_slots))

    def resize(self, columns: int, lines: int) -> None:
        """Take over the size of the screen."""
        wide, tall = columns >= WIDE, lines >= TALL
        self.num_slots = 4 if wide and tall else 2 if wide else 1

    def slot_of(self, panel: str) -> int | None:
        """Return the slot that a panel has or will have, None where it has none."""
        return next((number for number, slot in enumerate(self.room) if slot.panel == panel), None)

    def open(self, panel: str) -> None:
        """Make a panel the active one, in its own slot or in the active one."""
        number = self.slot_of(panel)
        self.active = self.active if number is None else number
        self.active_slot.panel = panel

    def stale(self, sight: Sight) -> list[str]:
        """Return the panels that are not drawn of a sight."""
        return [slot.panel for slot in self.room if slot.drawn_of != (slot.panel, sight)]

    def drawn(self, sight: Sight, panels: frozenset[str]) -> tuple[int, ...]:
        """Note that panels were drawn; return the slots that show them."""
        numbers = tuple(number for number, slot in enumerate(self.room) if slot.panel in panels)
        for number in numbers:
            self.slots[number].drawn_of = (self.slots[number].panel, sight)
        return numbers

    def shows(self, panel: str) -> bool:
        """Say whether the lines of a panel are on the screen."""
        return any(slot.shown == panel for slot in self.room)
