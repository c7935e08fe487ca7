"""Verify functions as users write them: right ones and wrong ones, over every source of chance."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import torch


def eagle(tokens: Any, parents: Any, target_probs: Any, rng: Any) -> list[int]:
    node, out = 0, []
    while True:
        law = target_probs[node].copy()
        for child in (i for i in range(1, len(tokens)) if parents[i] == node):
            if rng.random() < law[tokens[child]]:
                out.append(int(tokens[child]))
                node = child
                break
            law[tokens[child]] = 0
            law /= law.sum()
        else:
            return [*out, int(rng.choice(len(law), p=law))]


def _chain(tokens: Any, draft: Any, target: Any, coin: Any, sample: Any) -> list[int]:
    for i, token in enumerate(tokens):
        if not coin(i) < target[i][token] / draft[i][token]:
            return [*map(int, tokens[:i]), int(sample(i, np.maximum(target[i] - draft[i], 0)))]
    return [*map(int, tokens), int(sample(len(tokens), target[-1]))]


def plain_random(draft_token_ids: Any, draft_probs: Any, target_probs: Any) -> list[int]:
    """Python's own module: coins, and the exponential race as -log(u) / p."""

    def race(_: int, law: Any) -> int:
        times = [-math.log(random.random()) / p if p else math.inf for p in law]
        return min(range(len(law)), key=times.__getitem__)

    return _chain(draft_token_ids, draft_probs, target_probs, lambda _: random.random(), race)


def gumbel(draft_token_ids: Any, draft_probs: Any, target_probs: Any, rng: Any) -> list[int]:
    def best(_: int, law: Any) -> int:
        with np.errstate(divide="ignore"):
            return int(np.argmax(np.log(np.asarray(law, dtype=float)) + rng.gumbel(size=len(law))))

    return _chain(draft_token_ids, draft_probs, target_probs, lambda _: rng.random(), best)


def uniforms_as_arrays(
    draft_token_ids: Any, draft_probs: Any, target_probs: Any, uniforms: Any, final_uniform: Any
) -> list[int]:
    """Coins as an array, inverse transform for the last token."""

    def inverse(_: int, law: Any) -> int:
        total = np.cumsum(law / law.sum())
        return next((i for i, each in enumerate(total) if final_uniform < each), len(law) - 1)

    return _chain(draft_token_ids, draft_probs, target_probs, lambda i: uniforms[i], inverse)


def shared_race(
    draft_token_ids: Any, draft_probs: Any, target_probs: Any, uniforms: Any, exponentials: Any
) -> list[int]:
    """One row of exponential draws for all positions, each of which is decided: the draws are used again."""
    rows = [np.maximum(target_probs[i] - draft_probs[i], 0) for i in range(len(draft_token_ids))]
    winners = [int(np.argmax(row / exponentials[0])) for row in rows]
    winners.append(int(np.argmax(target_probs[-1] / exponentials[1])))
    return _chain(draft_token_ids, draft_probs, target_probs, lambda i: uniforms[i], lambda i, _: winners[i])


def opaque(draft_token_ids: Any, draft_probs: Any, target_probs: Any, rng: Any) -> list[int]:
    """Every draw becomes a float at once, so that nobody can follow it."""
    coins = np.asarray(rng.random(len(draft_token_ids)), dtype=np.float64)
    race = np.asarray(rng.exponential(size=target_probs.shape[1]), dtype=np.float64)
    return _chain(
        draft_token_ids,
        draft_probs,
        target_probs,
        lambda i: float(coins[i]),
        lambda _, law: np.argmax(law / race),
    )


def opaque_product(draft_token_ids: Any, draft_probs: Any, target_probs: Any, rng: Any) -> list[int]:
    """A wrong one that can be neither followed nor opened: coins are multiplied as floats."""
    coins = np.cumprod(np.asarray(rng.random(len(draft_token_ids)), dtype=np.float64))
    return _chain(
        draft_token_ids,
        draft_probs,
        target_probs,
        lambda i: coins[i],
        lambda _, law: rng.choice(len(law), p=law / law.sum()),
    )


def with_torch(
    draft_token_ids: Any, draft_probs: Any, target_probs: Any, generator: torch.Generator
) -> list[int]:
    count, vocab = draft_probs.shape
    rows = torch.arange(count)
    coins = torch.rand(count, dtype=torch.float64, generator=generator)
    accepted = target_probs[rows, draft_token_ids] / draft_probs[rows, draft_token_ids] > coins
    length = int(accepted.long().cumprod(0).sum())
    race = torch.empty(1, vocab, dtype=torch.float64)
    race.exponential_(generator=generator)
    recovered = (torch.clamp(target_probs[:count] - draft_probs, min=0) / race).argmax(dim=-1)
    bonus = torch.multinomial(target_probs[-1], 1, generator=generator)
    return [*draft_token_ids[:length].tolist(), int(recovered[length] if length < count else bonus)]


def batch(draft_token_ids: Any, draft_probs: Any, target_probs: Any, rng: Any) -> list[list[int]]:
    return [
        _chain(*row, lambda _: rng.random(), lambda _, law: rng.choice(len(law), p=law / law.sum()))
        for row in zip(draft_token_ids, draft_probs, target_probs, strict=True)
    ]


def batch_with_one_coin(
    draft_token_ids: Any, draft_probs: Any, target_probs: Any, rng: Any
) -> list[list[int]]:
    """Each row alone has the right law, together they do not: they share their coins."""
    coins = rng.random(draft_token_ids.shape[1])
    return [
        _chain(*row, lambda i: coins[i], lambda _, law: rng.choice(len(law), p=law / law.sum()))
        for row in zip(draft_token_ids, draft_probs, target_probs, strict=True)
    ]


def accepts_at_zero(tokens: Any, target_probs: Any) -> list[int]:
    """`<=`, and coins in single precision."""
    coins = torch.rand(1)
    if bool(coins[0] <= target_probs[0, tokens[1]]):
        return [int(tokens[1]), int(torch.multinomial(target_probs[1], 1))]
    left = target_probs[0].clone()
    left[tokens[1]] = 0
    return [int(torch.multinomial(left, 1))]


_CALLS = [0]


def not_repeatable(draft_token_ids: Any, target_probs: Any) -> list[int]:
    _CALLS[0] += 1
    return [int(draft_token_ids[0]) if _CALLS[0] % 2 else int(len(target_probs[0]) - 1)]


def raises_on_rejection(draft_token_ids: Any, draft_probs: Any, target_probs: Any, rng: Any) -> list[int]:
    if rng.random() < target_probs[0][draft_token_ids[0]] / draft_probs[0][draft_token_ids[0]]:
        return [int(draft_token_ids[0])]
    raise ValueError("0/0 in the residual")


def out_of_vocabulary(draft_token_ids: Any, target_probs: Any) -> list[int]:
    return [len(target_probs[0])]


def strange_parameter(temperature: float) -> list[int]:
    return [int(temperature)]


def opaque_and_wrong(draft_token_ids: Any, draft_probs: Any, target_probs: Any, rng: Any) -> list[int]:
    """As `opaque`, with the whole target law where the residual belongs."""
    coins = np.asarray(rng.random(len(draft_token_ids)), dtype=np.float64)
    race = np.asarray(rng.exponential(size=target_probs.shape[1]), dtype=np.float64)
    return _chain(
        draft_token_ids, draft_probs, target_probs, lambda i: float(coins[i]),
        lambda i, _: np.argmax(target_probs[i] / race),
    )  # fmt: skip


def rare_branch(draft_token_ids: Any, draft_probs: Any, target_probs: Any, rng: Any) -> list[int]:
    """A right one whose second coin matters only after the first fell in a narrow place."""
    coins = np.asarray(rng.random(len(draft_token_ids)), dtype=np.float64)
    return _chain(
        draft_token_ids, draft_probs, target_probs, lambda i: float(coins[i]),
        lambda _, law: rng.choice(len(law), p=law / law.sum()),
    )  # fmt: skip


def leaves(draft_token_ids: Any, target_probs: Any) -> list[int]:
    """A verifier that prints, and ends the process where one would call it right."""
    print("a line of its own")
    raise SystemExit(0)


_ENGINE = np.random.Generator(np.random.Philox(3))


def engine(prompt: str) -> list[int]:
    """An engine whose second token ignores the first."""
    print(prompt)
    return [int(_ENGINE.random() < 0.5), int(_ENGINE.random() < 0.5)]
