"""Rules that need no law of drafts: EAGLE's posterior, and following what the teacher draws."""

from __future__ import annotations

from workbench.fused.sampling.base import Decided, Sampled, SamplingRule, first_of_each


class EaglePosterior(SamplingRule):
    """Each child with what is left of the teacher's law: p / (1 - what was rejected)."""

    def decide(self, sampled: Sampled) -> Decided:
        """Walk down; rejected tokens are left out of the law that the final token is drawn from."""
        tree, path = sampled.tree, [0]
        while True:
            law, left = sampled.law[path[-1]], 1.0
            children = first_of_each(sampled.children(path[-1]), tree.token_ids)
            tried = []
            for child in children:
                chance = float(law[tree.token_ids[child]])
                if sampled.accepts(chance / left if left > 0 else 1.0):
                    path.append(child)
                    break
                tried.append(int(tree.token_ids[child]))
                left -= chance
            else:
                rest = law.clone()
                rest[tried] = 0
                token_id = sampled.token(rest if float(rest.sum()) > 0 else law)
                return Decided(path, token_id, is_recovered=bool(tried))


class SamplerMatch(SamplingRule):
    """One draw a token from the teacher's law; drafts are accepted where they foretold it."""

    def decide(self, sampled: Sampled) -> Decided:
        """Walk down while a child has the drawn token."""
        tree, path = sampled.tree, [0]
        while True:
            token_id = sampled.token(sampled.law[path[-1]])
            same = [child for child in sampled.children(path[-1]) if tree.token_ids[child] == token_id]
            if not same:
                return Decided(path, token_id)
            path.append(same[0])
