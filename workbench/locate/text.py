"""What was located, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from workbench.locate.culprit import Culprit, Extent
from workbench.locate.located import Located
from workbench.view.counted import counted

MAX_NUMBERS: Final = 8
"""Longest list of rows, heads or elements that is shown whole."""
MAX_GROUPS: Final = 6
INDENT: Final = " " * 12


def located_lines(located: Located, *, full: bool = False) -> list[str]:
    """Return what was located; `full` tells every tensor and how errors grow."""
    return list(_lines(located, full=full))


def _lines(located: Located, *, full: bool) -> Iterator[str]:
    groups = by_operator(located.culprits)
    shown = groups if full else groups[:MAX_GROUPS]
    for number, group in enumerate(shown):
        yield f"{'located' if number == 0 else 'and':<11} {_headline(group)}"
        for culprit in group if full else group[:1]:
            yield INDENT + _sentence(culprit)
    if len(groups) > len(shown):
        yield f"{INDENT}and {counted(len(groups) - len(shown), 'more operator')} (-v shows all)"
    if located.conclusion:
        yield f"located     not to a tensor: {located.conclusion}"
    if located.num_judged:
        yield f"judged      {counted(located.num_judged, 'tensor')}, each on its own inputs"
    for why in located.unopened:
        yield f"not opened  {why}"
    if full:
        for each in located.growth:
            name = f"{each.name} (forward {each.forward})" if each.forward else each.name
            sizes = f"alone {each.alone:.3g}, accumulated {each.accumulated:.3g} of the allowed"
            yield f"growth      {name}: {sizes}"


def by_operator(culprits: Sequence[Culprit]) -> list[list[Culprit]]:
    """Return culprits grouped by network and operator, in order of the data flow."""
    groups: dict[tuple[str, str], list[Culprit]] = {}
    for culprit in culprits:
        groups.setdefault((culprit.name.partition(".")[0], culprit.operator), []).append(culprit)
    return list(groups.values())


def headlines(culprits: Sequence[Culprit]) -> list[str]:
    """Return one line for each operator, in order of the data flow."""
    return [_headline(group) for group in by_operator(culprits)]


def _headline(group: Sequence[Culprit]) -> str:
    first = group[0]
    network, layers = (
        first.name.partition(".")[0],
        sorted({each.layer for each in group if each.layer is not None}),
    )
    is_alone = network == "drafter" and first.name.startswith("drafter.midlayer")
    where = "" if not layers or is_alone else f", layer{'s' if len(layers) > 1 else ''} {_numbers(layers)}"
    return f"{first.operator} of the {network}{where}"


def _sentence(culprit: Culprit) -> str:
    place = culprit.extent.place
    words = [culprit.counted, "head", "element"] if len(place) == 3 else [culprit.counted, "element"]
    at = ", ".join(f"{word} {number}" for word, number in zip(words, place, strict=False))
    text = f"{culprit.name}{_forward(culprit)}: {_extent(culprit.counted, culprit.extent)}; at {at}"
    text += f" {culprit.fused:.6g} where its inputs give {culprit.reference:.6g}"
    if culprit.error is not None:
        text += f" (off by {culprit.error:.3g}, allowed {culprit.allowance:.3g})"
    if culprit.between:
        names = ", ".join(name.rpartition(".")[2] for name in culprit.between)
        text += f"; or before it, in what the path does not give: {names}"
    return text


def _forward(culprit: Culprit) -> str:
    if culprit.forward < 0:
        return " before the stage"
    return f" in forward {culprit.forward}" if culprit.forward else ""


def _extent(counted_as: str, extent: Extent) -> str:
    parts = [_part(counted_as, extent.rows)]
    if extent.heads is not None:
        parts.append(_part("head", extent.heads))
    if extent.elements is not None:
        parts.append(_part("element", extent.elements))
    return ", ".join(parts)


def _part(noun: str, numbers: tuple[int, ...] | None) -> str:
    if numbers is None:
        return f"every {noun}"
    return f"{noun if len(numbers) == 1 else noun + 's'} {_numbers(numbers)}"


def _numbers(numbers: Sequence[int | None]) -> str:
    shown = ", ".join(map(str, numbers[:MAX_NUMBERS]))
    return shown + (f" and {len(numbers) - MAX_NUMBERS} more" if len(numbers) > MAX_NUMBERS else "")
