"""Context lengths: the same texts cut to their last 128 ... 1,920 tokens, and each proposer's break-even.

The figures of the OpenPangu and Medusa paper: speed-up and time ratio over length. The time ratio is the time
of a step over that of a teacher-only token; a proposer gains where a step emits more tokens than that.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tracing.errors import UsageError
from workbench.bench.stats import mean, ratio
from workbench.bench.studies.lab import Lab, Measured, refused
from workbench.bench.suite import SuitePrompt, shipped_prompts
from workbench.bench.tables import Plot, Series, Study, Table
from workbench.bench.turn import BenchCase
from workbench.lockstep.choice.decoders import Decoded, Decoder
from workbench.lockstep.session.turns import TurnTokenizer

SWEEP_LENGTHS: Final = (128, 256, 512, 768, 1024, 1536, 1920)
BEYOND: Final = (2048, 4096)
"""Lengths beyond what a teacher was made for: its text means nothing there, its times do."""
SPARE: Final = 32
"""Positions that are left to drafts behind the last token."""
LEAST_NEW: Final = 8
MOST_BEYOND: Final = 2
BEYOND_TOKENS: Final = 48
PAPER: Final = (
    "Published for openPangu 7B with Medusa heads on an Ascend NPU (arXiv 2603.03383): 1.35 at 128 tokens, "
    "falling, break-even at 1,024."
)


def break_even(lengths: Sequence[int], speedups: Sequence[float]) -> float | None:
    """Return the first length at which the speed-up crosses 1, interpolated on a log scale, or None."""
    points = list(zip(lengths, speedups, strict=True))
    for (low, left), (high, right) in itertools.pairwise(points):
        if (left - 1) * (right - 1) <= 0 and left != right:
            return math.exp(math.log(low) + (1 - left) / (right - left) * math.log(high / low))
    return None


def time_ratio(one: Decoded, base: Decoded) -> float | None:
    """Return the time of a step over that of a teacher-only token, prefill left out; None without steps."""
    token = base.seconds_per_token
    if token is None or not one.num_accepted:
        return None
    return (one.seconds - (one.first_token_seconds or 0.0)) / len(one.num_accepted) / token


def measure(lab: Lab) -> Study:
    """Measure every length; lengths for which the teacher has no room are left out and listed."""
    positions = lab.session.pair.teacher.max_position_embeddings
    texts = [prompt for prompt in shipped_prompts() if prompt.kind == "length"][: max(1, lab.num_cases)]
    found: dict[int, list[Measured]] = {}
    for length in SWEEP_LENGTHS:
        room = min(lab.session.max_new_tokens, positions - length - SPARE)
        cases = _cases(lab, texts, length) if room >= min(LEAST_NEW, lab.session.max_new_tokens) else []
        if cases:
            found[length] = lab.side_by_side(lab.proposers, cases, room)
    left_out = [length for length in SWEEP_LENGTHS if length not in found]
    beyond = _beyond(lab, texts)
    return Study(
        name="length",
        title="Context lengths",
        text=(
            f"{len(texts)} held-out texts, each cut to its last tokens: all lengths end alike.",
            *(_break_even_text(name, _speedups(found, name)) for name in lab.proposers),
            PAPER,
            *((f"Left out, too long for the teacher or the texts: {left_out}.",) if left_out else ()),
        ),
        tables=(_table(found), *((_beyond_table(beyond),) if beyond else ())),
        plots=(
            _plot("Speedup over context length", "speedup", found, lambda one: one.speedup),
            _plot("Time of a step over a teacher-only token", "time ratio", {**found, **beyond}, _ratio_of),
        ),
        num_refused=refused([one for measured in found.values() for one in measured]),
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


def _beyond(lab: Lab, texts: Sequence[SuitePrompt]) -> dict[int, list[Measured]]:
    """Measure lengths beyond the teacher's own on the same weights with more positions, for their times."""
    limit = max(BEYOND) + BEYOND_TOKENS + SPARE
    if not lab.contenders or lab.session.pair.teacher.max_position_embeddings >= limit:
        return {}
    baselines: list[Decoder] = []
    decoders: dict[str, Decoder] = {}
    for name, (session, choices) in lab.contenders.items():
        pair = replace(
            session.pair,
            teacher=_longer(session.pair.teacher, limit),
            drafter=_longer(session.pair.drafter, limit),
        )
        decoders[name] = session.speculative(session.engine(choices.settings, choices.eager, pair=pair))
        baselines.append(session.greedy(session.engine(choices.settings, choices.greedy_eager, pair=pair)))
    longer = replace(lab, baseline=baselines[0])
    token_ids = [lab.session.tokens(prompt.turns[0]) for prompt in texts[:MOST_BEYOND]]
    found = {}
    for length in BEYOND:
        contexts = [tuple(itertools.islice(itertools.cycle(ids), length)) for ids in token_ids]
        cases = [BenchCase(i, 0, f"length-{length}", "length", one) for i, one in enumerate(contexts)]
        found[length] = longer.side_by_side(decoders, cases, min(BEYOND_TOKENS, lab.session.max_new_tokens))
    return found


def _longer(config: Any, limit: int) -> Any:
    """Return a model's configuration with more positions; one that has none as it is."""
    has_positions = hasattr(config, "max_position_embeddings")
    return replace(config, max_position_embeddings=limit) if has_positions else config


def _speedups(found: Mapping[int, Sequence[Measured]], name: str) -> dict[int, float]:
    return {length: one.speedup for length, measured in found.items() for one in measured if one.name == name}


def _ratio_of(one: Measured) -> float:
    ratios = [time_ratio(*pair) for pair in zip(one.decoded, one.baseline, strict=True)]
    return mean(each for each in ratios if each is not None)


def _table(found: Mapping[int, Sequence[Measured]]) -> Table:
    rows = [
        (
            length,
            one.name,
            len(one.decoded),
            1e3 * mean(each.first_token_seconds or 0.0 for each in one.decoded),
            one.tokens_per_second,
            one.speedup,
            _ratio_of(one),
            one.num_accepted.mean,
            one.num_refused,
        )
        for length, measured in found.items()
        for one in measured
    ]
    head = ("tokens", "proposer", "contexts", "first token ms", "tok/s", "speedup", "time ratio")
    return Table(
        "Lengths",
        (*head, "accept_L mean", "refused"),
        tuple(rows),
        "time ratio: a step over a teacher-only token, prefill left out",
    )


def _beyond_table(found: Mapping[int, Sequence[Measured]]) -> Table:
    rows = [
        (length, one.name, _ratio_of(one), 1e3 * ratio(_later(one), len(one.baseline)))
        for length, measured in found.items()
        for one in measured
    ]
    return Table(
        "Beyond the teacher's positions: times alone",
        ("tokens", "proposer", "time ratio", "teacher-only token ms"),
        tuple(rows),
        "the same weights with more positions: text and acceptance mean nothing there",
    )


def _later(one: Measured) -> float:
    return sum(base.seconds_per_token or 0.0 for base in one.baseline)


def _plot(title: str, label: str, found: Mapping[int, Sequence[Measured]], value: Any) -> Plot:
    names = dict.fromkeys(one.name for measured in found.values() for one in measured)
    series = []
    for name in names:
        points = {
            length: value(one) for length, measured in found.items() for one in measured if one.name == name
        }
        series.append(Series(name, tuple(points), tuple(points.values())))
    return Plot("line", title, "context tokens", label, tuple(series), level=1.0)


def _break_even_text(name: str, speedups: Mapping[int, float]) -> str:
    if not speedups:
        return f"{name}: no length could be measured."
    lengths, values = tuple(speedups), tuple(speedups.values())
    point = break_even(lengths, values)
    if point is not None:
        return f"{name}: break-even at about {point:.0f} tokens of context."
    side = "above" if min(values) > 1 else "below"
    return (
        f"{name}: no break-even: the speedup is {side} 1 at every length from {lengths[0]} to {lengths[-1]}."
    )
