"""Context lengths: the same texts cut to their last 128 ... 1,024 tokens, and the break-even point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

from tracing.errors import UsageError
from workbench.bench.stats import mean
from workbench.bench.studies.lab import COLUMNS, Lab, Measured, cells, refused, speed_plot
from workbench.bench.suite import SuitePrompt, shipped_prompts
from workbench.bench.tables import Study, Table
from workbench.bench.turn import BenchCase
from workbench.lockstep.session.turns import TurnTokenizer

SWEEP_LENGTHS: Final = (128, 256, 512, 1024)


def break_even(lengths: Sequence[int], speedups: Sequence[float]) -> float | None:
    """Return the first length at which the speed-up crosses 1, interpolated on a log scale, or None."""
    points = list(zip(lengths, speedups, strict=True))
    for (low, left), (high, right) in itertools.pairwise(points):
        if (left - 1) * (right - 1) <= 0 and left != right:
            return math.exp(math.log(low) + (1 - left) / (right - left) * math.log(high / low))
    return None


def measure(lab: Lab) -> Study:
    """Measure every length; lengths for which the teacher has no room are left out and listed."""
    room = lab.session.pair.teacher.max_position_embeddings - lab.session.max_new_tokens - 32
    texts = [prompt for prompt in shipped_prompts() if prompt.kind == "length"][: max(1, lab.num_cases)]
    found: dict[int, Measured] = {}
    left_out = [length for length in SWEEP_LENGTHS if length > room]
    for length in SWEEP_LENGTHS:
        cases = [] if length in left_out else _cases(lab, texts, length)
        if cases:
            (found[length],) = lab.side_by_side({str(length): lab.speculative(lab.choices.settings)}, cases)
        elif length not in left_out:
            left_out.append(length)
    lengths = tuple(found)
    speedups = [one.speedup for one in found.values()]
    return Study(
        name="length",
        title="Context lengths",
        text=(
            f"{len(texts)} held-out texts, each cut to its last tokens: all lengths end alike.",
            _break_even_text(lengths, speedups),
            *((f"Left out, too long for the teacher or the texts: {left_out}.",) if left_out else ()),
        ),
        tables=(
            Table(
                "Lengths",
                ("tokens", "contexts", "first token ms", "greedy first token ms", *COLUMNS),
                tuple(
                    (
                        length,
                        len(one.decoded),
                        1e3 * mean(each.first_token_seconds for each in one.decoded),
                        1e3 * mean(each.first_token_seconds for each in one.baseline),
                        *cells(one),
                    )
                    for length, one in found.items()
                ),
            ),
        ),
        plots=(
            speed_plot(
                "line", "Speedup over context length", "context tokens", lengths, list(found.values())
            ),
        ),
        num_refused=refused(list(found.values())),
    )


def cut_to(tokenizer: TurnTokenizer, text: str, length: int) -> list[int]:
    """Return the last tokens of a text, `length` in all with the tokenizer's leading special tokens.

    Raises:
        UsageError: The text is shorter.
    """
    plain, whole = tokenizer.encode(text, special_tokens=False), tokenizer.encode(text)
    num_leading = len(whole) - len(plain) if whole[len(whole) - len(plain) :] == plain else 0
    if len(plain) < length - num_leading:
        raise UsageError(f"the text has {len(plain)} tokens with this tokenizer, {length} were asked for")
    return [*whole[:num_leading], *plain[len(plain) - (length - num_leading) :]]


def _cases(lab: Lab, texts: Sequence[SuitePrompt], length: int) -> list[BenchCase]:
    cases = []
    for number, prompt in enumerate(texts):
        try:
            token_ids = cut_to(lab.session.tokenizer, prompt.turns[0], length)
        except UsageError:
            continue  # this tokenizer makes fewer tokens of it
        cases.append(BenchCase(number, 0, f"length-{length}", "length", tuple(token_ids)))
    return cases


def _break_even_text(lengths: Sequence[int], speedups: Sequence[float]) -> str:
    if not speedups:
        return "No length could be measured."
    point = break_even(lengths, speedups)
    if point is not None:
        return f"Break-even at about {point:.0f} tokens of context."
    side = "above" if min(speedups) > 1 else "below"
    return f"No break-even: the speedup is {side} 1 at every length from {lengths[0]} to {lengths[-1]}."
