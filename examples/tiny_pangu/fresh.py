"""Prompts from held-out files whose continuation by the teacher does not repeat itself: the suite `fresh`.

Most greedy texts of a small teacher loop, and loops are easy to draft. Of many places in the held-out files
this keeps those where it writes something new for 128 tokens. Deterministic on one interpreter and one
machine; elsewhere a near tie of the teacher may turn out the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from tokenizers import Tokenizer

from examples.tiny_pangu.corpus import SourceFile
from examples.tiny_pangu.heldout import held_out_files
from examples.tiny_pangu.suite import SuitePrompt, in_turn
from tracing.settings import EAGER_OPERATORS, DecodeSettings
from workbench.bench.stats import distinct_share
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.shipped import shipped_pair_dirs
from workbench.fused.greedy import decode_greedy
from workbench.fused.path import make_engine

APART: Final = 320
"""Tokens from one place in a file to the next."""
CONTEXTS: Final = (96, 384, 1024)
"""Tokens before a place that its prompt has at most, in turn over the places."""
NUM_TRIED: Final = 400
NEW_TOKENS: Final = 128
LEAST_DISTINCT: Final = 0.5
"""Share of the continuation's 4-grams that are distinct."""

Continue = Callable[[Sequence[int]], Sequence[int]]
"""Return the teacher's next `NEW_TOKENS` tokens, fewer where it ends."""


def fresh_prompts(tokenizer: Tokenizer, continued: Continue) -> list[SuitePrompt]:
    """Return the prompts that the teacher goes on from without repeating itself, in their fixed order."""
    found: list[SuitePrompt] = []
    for source, text in _tried(tokenizer, held_out_files()):
        output = continued(tokenizer.encode(text).ids)
        if len(output) == NEW_TOKENS and distinct_share(output) >= LEAST_DISTINCT:
            found.append(SuitePrompt(f"fresh-{len(found):02}", "fresh", source, (text,)))
    return found


def shipped_teacher() -> Continue:
    """Return greedy decoding by the shipped teacher in float32, all operators plain torch."""
    pair = load_pair(*shipped_pair_dirs()).pair
    engine = make_engine(pair, DecodeSettings(), device="cpu", dtype="float32", eager=set(EAGER_OPERATORS))
    return lambda prompt: decode_greedy(engine, prompt, NEW_TOKENS)


def _tried(tokenizer: Tokenizer, files: Sequence[SourceFile]) -> list[tuple[str, str]]:
    """Return source and text of all prompts that are tried, files in turn, so that no file dominates."""
    places = in_turn([list(_places(tokenizer, file)) for file in files])
    sources: dict[str, str] = {}
    for source, text in islice(places, NUM_TRIED):
        sources.setdefault(text, source)  # some text stands in two files
    return [(source, text) for text, source in sources.items()]


def _places(tokenizer: Tokenizer, file: SourceFile) -> Iterator[tuple[str, str]]:
    """Yield what stands before places in a file: whole lines."""
    offsets = tokenizer.encode(file.text, add_special_tokens=False).offsets
    for number, end in enumerate(range(APART, len(offsets), APART)):
        start = offsets[max(0, end - CONTEXTS[number % len(CONTEXTS)])][0]
        lines = file.text[start : offsets[end][0]]
        begin, stop = lines.find("\n") + 1 if start else 0, lines.rfind("\n") + 1
        if lines[begin:stop].strip():
            yield file.name, lines[begin:stop]
