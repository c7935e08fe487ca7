"""What the peers wrote, as files that `specwb texts` reads."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from workbench.bench.turn import BenchCase, TurnResult


def write_texts(
    results: Sequence[TurnResult],
    cases: Sequence[BenchCase],
    peers: Sequence[str],
    limit: int,
    write: Callable[[str, str], None],
) -> None:
    """Write a file of texts for each peer; a turn that was decoded several times is in it as often.

    Args:
        results: Of finished turns.
        cases: Contexts of the turns.
        peers: Names, `peer:mode`.
        limit: New tokens of a turn.
        write: Takes a name and the content.
    """
    prompts: Mapping[tuple[int, int], tuple[int, ...]] = {
        (case.prompt_id, case.turn): case.token_ids for case in cases
    }
    lines: dict[str, list[str]] = defaultdict(list)
    for result in results:
        prompt = prompts.get((result.case.prompt_id, result.case.turn))
        if result.proposer in peers and prompt is not None:
            line = {
                "id": f"{result.case.name}:{result.case.turn}:{result.repetition}",
                "prompt_token_ids": list(prompt),
                "output_token_ids": list(result.speculative.token_ids),
                "max_new_tokens": limit,
            }
            lines[result.proposer].append(json.dumps(line) + "\n")
    for name, written in lines.items():
        write(f"texts-{name.replace(':', '-')}.jsonl", "".join(written))
