"""How comparisons of numbers that depend on draws fall; exact for one draw and for exponential races."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from workbench.lossless import cones
from workbench.lossless.boxes import Boxes, divided
from workbench.lossless.draw import UniformDraw
from workbench.lossless.expressions import Compound, Term, Uncertain
from workbench.lossless.forks import Forks, Option
from workbench.lossless.law import Number


@dataclass(frozen=True)
class Joint:
    """What is known of several draws together.

    Attributes:
        draws: Their numbers, ascending.
        facts: Differences of which the sign is known, and whether it is negative.
        simplices: The same as exact parts of a simplex, if only ratios of exponential draws were compared.
        boxes: The same as boxes, once somebody needed them.
    """

    draws: tuple[int, ...]
    facts: tuple[tuple[Uncertain, bool], ...]
    simplices: list[cones.Simplex] | None = None
    boxes: Boxes | None = None


class Comparisons:
    """The draws of one enumeration, and the decisions that comparing them takes."""

    def __init__(self, forks: Forks) -> None:
        self.forks = forks
        self.is_integrated = False
        self.is_rounded = False

    def fresh(self, bits: int = 53) -> Term:
        """Return a new uniform draw, of this many bits in floating point."""
        return Term(UniformDraw(self, self.forks.number_of_draw(), bits=bits))

    def compare(self, one: Uncertain, other: Uncertain | Number, *, is_less: bool, is_strict: bool) -> bool:
        """Return whether `one < other` (or `>`, or equal where it is not strict)."""
        if isinstance(one, Term) and not isinstance(other, Uncertain) and one.draw.joint is None:
            return self._one_draw(one, other, is_less=is_less, is_strict=is_strict)
        if isinstance(other, Term) and isinstance(one, Term) and one.scale < 0 and other.scale < 0:
            one, other = -other, -one
        rates = (_rate(one), _rate(other)) if isinstance(other, Uncertain) else (None, None)
        if rates[0] and rates[1] and rates[0][2] == rates[1][2]:
            found = self._ratio(rates[0], rates[1])
            if found is not None:
                return found == is_less
        if isinstance(other, Uncertain):
            same = one.draws() == other.draws() and _same_view(one, other)
            difference = same if same is not None else Compound("add", (one, -other))
        else:
            difference = one + (-other)
        if not isinstance(difference, Uncertain):
            return bool(difference < 0) == is_less
        if isinstance(difference, Term) and difference.draw.joint is None:
            return self._one_draw(difference, Fraction(0), is_less=is_less, is_strict=is_strict)
        return self._boxes(difference) == is_less

    def _one_draw(self, term: Term, number: Number, *, is_less: bool, is_strict: bool) -> bool:
        """Decide by where the threshold cuts the interval of the draw."""
        draw = term.draw
        threshold, is_below = self._threshold(term, number)
        holds_below = is_below == is_less  # whether the comparison holds for smaller draws
        if draw.low == draw.high:  # an edge: the draw is exactly 0
            value = _value_at_zero(term)
            return not is_strict if value == number else (value < number) == is_less
        cut = min(max(threshold, draw.low), draw.high)
        is_edge = draw.low == cut == 0 and _value_at_zero(term) == number

        def options() -> tuple[list[Option], float]:
            width = draw.high - draw.low
            found = [
                Option((cut - draw.low) / width, (draw.low, cut)),
                Option((draw.high - cut) / width, (cut, draw.high)),
            ]
            if is_edge and is_strict != holds_below:  # the comparison falls otherwise there than above 0
                found.append(Option(Fraction(1, 2**draw.bits), (Fraction(0), Fraction(0)), is_edge=True))
            return found, 0.0

        taken, option = self.forks.decide(f"draw {draw.index} against {float(threshold):.9g}", options)
        draw.low, draw.high = option.state
        return not is_strict if taken == 2 else holds_below == (taken == 0)

    def _threshold(self, term: Term, number: Number) -> tuple[Number, bool]:
        """Return the draw at which the term equals a number, and whether it is less for smaller draws."""
        seen = (number - term.offset) / term.scale
        grows = term.scale > 0
        if term.is_inverse:
            grows = not grows
            seen = 1 / seen if seen else math.inf
            if seen < 0 and term.view != "gumbel":  # the view is positive: never reached
                seen = math.inf
        if term.view == "uniform":
            return seen, grows
        self.is_rounded = True
        if term.view == "exponential":
            return _power_of_e(-seen), not grows
        return _power_of_e(-_power_of_e(-seen)), grows

    def _ratio(
        self, one: tuple[UniformDraw, Fraction, bool], other: tuple[UniformDraw, Fraction, bool]
    ) -> bool | None:
        """Decide `one < other` of two exponential draws times numbers; None where that is not exact."""
        (left, left_scale, is_inverse), (right, right_scale, _) = one, other
        joints = [draw.joint for draw in (left, right)]
        if left is right or any(
            j.simplices is None if j else not d.is_fresh for j, d in zip(joints, (left, right), strict=True)
        ):
            return None
        columns, parts, facts, members = self._gathered((left, right))
        label = f"ratio of draws {left.index} and {right.index}"

        def options() -> tuple[list[Option], float]:
            known = cones.crossed([(draws, simplices or []) for draws, simplices in parts], columns)
            scales = (1 / left_scale, 1 / right_scale) if is_inverse else (left_scale, right_scale)
            less, rest = cones.cut(
                known, columns.index(left.index), scales[0], columns.index(right.index), scales[1]
            )
            if is_inverse:
                less, rest = rest, less
            difference = _difference(one, other)
            total = cones.share_of(less) + cones.share_of(rest)
            return [
                Option(
                    cones.share_of(side) / total,
                    Joint(columns, (*facts, (difference, is_first)), simplices=side),
                )
                for side, is_first in ((less, True), (rest, False))
            ], 0.0

        taken, option = self.forks.decide(label, options)
        self._know(option.state, members)
        return taken == 0

    def _boxes(self, difference: Uncertain) -> bool:
        """Decide whether a value is negative: by its bounds, else by cutting the region of its draws."""
        involved = difference.draws()
        whole = Boxes.one(
            tuple(d.index for d in involved),
            [float(d.low) for d in involved],
            [float(d.high) for d in involved],
        )
        (least,), (most,) = difference.bounds(
            whole.low, whole.high, {d.index: i for i, d in enumerate(involved)}
        )
        if least >= 0 or most <= 0:
            return bool(least < 0)
        self.is_integrated = True
        columns, _, facts, members = self._gathered(involved)

        def options() -> tuple[list[Option], float]:
            region, lost = self._region(columns, members, facts)
            less, rest, undecided = divided(region, difference)
            total = less.total + rest.total
            return [
                Option(side.total / total, Joint(columns, (*facts, (difference, is_first)), boxes=side))
                for side, is_first in ((less, True), (rest, False))
            ], lost + undecided

        taken, option = self.forks.decide(f"draws {columns} combined", options)
        self._know(option.state, members)
        return taken == 0

    def _region(
        self, columns: tuple[int, ...], members: list[UniformDraw], facts: tuple[tuple[Uncertain, bool], ...]
    ) -> tuple[Boxes, float]:
        """Return what is known of these draws as boxes, and the share that getting there left undecided."""
        joints = {id(draw.joint): draw.joint for draw in members if draw.joint is not None}
        if len(joints) == 1:
            (joint,) = joints.values()
            if joint.boxes is not None and joint.draws == columns:
                return joint.boxes, 0.0
        region, lost = (
            Boxes.one(columns, [float(d.low) for d in members], [float(d.high) for d in members]),
            0.0,
        )
        for difference, is_negative in facts:
            less, rest, undecided = divided(region, difference)
            side = less if is_negative else rest
            lost += undecided * region.total / side.total if side.total else 0.0
            region = side
        return region, lost

    def _gathered(
        self, involved: tuple[UniformDraw, ...]
    ) -> tuple[
        tuple[int, ...],
        list[tuple[tuple[int, ...], list[cones.Simplex] | None]],
        tuple[tuple[Uncertain, bool], ...],
        list[UniformDraw],
    ]:
        """Return all draws that these are known together with: numbers, parts, facts, draws."""
        members: dict[int, UniformDraw] = {}
        parts: list[tuple[tuple[int, ...], list[cones.Simplex] | None]] = []
        facts: list[tuple[Uncertain, bool]] = []
        seen: set[int] = set()
        for draw in involved:
            joint: Joint | None = draw.joint
            if joint is None:
                members[draw.index] = draw
                parts.append(((draw.index,), cones.whole(1) if draw.is_fresh else None))
            elif id(joint) not in seen:
                seen.add(id(joint))
                members |= {each.index: each for each in self._members[id(joint)]}
                parts.append((joint.draws, joint.simplices))
                facts += joint.facts
        columns = tuple(sorted(members))
        return columns, parts, tuple(facts), [members[number] for number in columns]

    _members: dict[int, list[UniformDraw]]

    def restart(self) -> None:
        """Forget the draws of the last run."""
        self._members = {}

    def _know(self, joint: Joint, members: list[UniformDraw]) -> None:
        self._members[id(joint)] = members
        for draw in members:
            draw.joint = joint


def _rate(value: Uncertain | Number) -> tuple[UniformDraw, Fraction, bool] | None:
    """Return draw, scale and whether inverse, if a value orders like `scale * exponential` or its inverse."""
    if not isinstance(value, Term) or value.scale == 0:
        return None
    if value.view == "exponential" and not value.offset and value.scale > 0:
        return value.draw, Fraction(value.scale), value.is_inverse
    if value.view == "gumbel" and value.scale == 1 and not value.is_inverse:
        return value.draw, Fraction(math.exp(value.offset)), True
    return None


def _difference(
    one: tuple[UniformDraw, Fraction, bool], other: tuple[UniformDraw, Fraction, bool]
) -> Compound:
    """Return a value with the sign of `one - other`."""
    left = Term(one[0], "exponential", one[1], is_inverse=one[2])
    right = Term(other[0], "exponential", -other[1], is_inverse=other[2])
    return Compound("add", (left, right))


def _same_view(one: Uncertain, other: Uncertain) -> Term | Number | None:
    """Return the difference of two terms of one view of one draw, None if they are not."""
    if not isinstance(one, Term) or not isinstance(other, Term):
        return None
    if one.draw is not other.draw or one.view != other.view or one.is_inverse != other.is_inverse:
        return None
    scale, offset = one.scale - other.scale, one.offset - other.offset
    return Term(one.draw, one.view, scale, offset, one.is_inverse) if scale else offset


def _value_at_zero(term: Term) -> Number:
    """Return the value where a uniform draw is exactly 0, NaN for its other views."""
    return term.offset if term.view == "uniform" and not term.is_inverse else math.nan


def _power_of_e(value: Number) -> Number:
    try:
        return Fraction(math.exp(value))
    except OverflowError:
        return math.inf if value > 0 else Fraction(0)
