"""Subsets of the draft vocabulary, cut after training by how often tokens occur."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import torch

from tracing.models import ModelPair
from workbench.bench.stats import ratio
from workbench.bench.studies.lab import COLUMNS, Lab, cells, refused, speed_plot
from workbench.bench.tables import Study, Table

SHARES: Final = (1.0, 2 / 3, 1 / 3, 1 / 6, 1 / 12)
HEAD: Final = "lm_head.weight"


def cut_vocabulary(pair: ModelPair, counts: Mapping[int, int], size: int) -> ModelPair:
    """Return the pair with a draft head of its `size` most frequent tokens, ties to the lower id.

    The head's rows and `target_from_draft` are taken together and stay in ascending order of target id: every
    draft id still names the token that its row was trained for.
    """
    targets = pair.target_from_draft.tolist()
    ranked = sorted(range(len(targets)), key=lambda row: (-counts.get(targets[row], 0), targets[row]))
    kept = torch.tensor(sorted(ranked[:size], key=lambda row: targets[row]))
    weights = dict(pair.drafter_weights)
    weights[HEAD] = weights[HEAD][kept.to(weights[HEAD].device)].contiguous()
    return replace(
        pair,
        drafter=replace(pair.drafter, draft_vocab_size=len(kept)),
        drafter_weights=weights,
        target_from_draft=pair.target_from_draft[kept.to(pair.target_from_draft.device)],
    )


def count_tokens(texts: Iterable[Iterable[int]]) -> Counter[int]:
    """Return how often each token id occurs."""
    return Counter(token for text in texts for token in text)


def measure(lab: Lab) -> Study:
    """Measure each size; tokens are counted over contexts and answers that this study does not measure."""
    session, cases = lab.session, lab.cases()
    used = {case.prompt_id for case in cases}
    counts = count_tokens(case.token_ids for case in lab.all_cases if case.prompt_id not in used)
    counts += count_tokens(
        result.baseline.token_ids
        for result in lab.results
        if result.proposer == session.proposer
        and result.repetition == 0
        and result.case.prompt_id not in used
    )
    full = len(session.pair.target_from_draft)
    sizes = sorted({max(lab.choices.settings.top_k, round(full * share)) for share in SHARES}, reverse=True)
    entries, coverage = {}, {}
    for size in sizes:
        pair = cut_vocabulary(session.pair, counts, size)
        engine = session.engine(lab.choices.settings, lab.choices.eager, pair=pair)
        entries[str(size)] = session.speculative(engine)
        drafted = set(pair.target_from_draft.tolist())
        coverage[str(size)] = ratio(sum(n for token, n in counts.items() if token in drafted), counts.total())
    measured = lab.side_by_side(entries, cases)
    return Study(
        name="vocab",
        title="Subsets of the draft vocabulary",
        text=(
            "The drafter's head is cut after training to its most frequent tokens; `d2t` follows.",
            "Frequencies are of the other prompts of the suite and the teacher's answers to them.",
            *(("No other prompts were measured: sizes were cut by token id.",) if not counts else ()),
        ),
        tables=(
            Table(
                "Draft vocabulary",
                ("tokens", "coverage", *COLUMNS),
                tuple((one.name, coverage[one.name], *cells(one)) for one in measured),
                "coverage: share of the counted text that can be drafted",
            ),
        ),
        plots=(
            speed_plot(
                "line",
                "Speed and acceptance over the draft vocabulary",
                "tokens in the draft vocabulary",
                sizes,
                measured,
                accepted=True,
            ),
        ),
        num_refused=refused(measured),
    )
