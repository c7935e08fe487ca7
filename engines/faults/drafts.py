"""Drafting, sampling and the prefix cache."""

from __future__ import annotations

from typing import Any

from engines.faults.planting import replace_method, runner_class


def wrong_bonus_token() -> None:
    """Where every draft is accepted, the token after them is the next one of the vocabulary."""
    from vllm.v1.sample import rejection_sampler

    def make(original: Any) -> Any:
        def sampled(*args: Any, **kwargs: Any) -> Any:
            tokens = original(*args, **kwargs)
            whole = (tokens >= 0).all(dim=1)
            tokens[whole, -1] = (tokens[whole, -1] + 1) % 4096
            return tokens

        return sampled

    replace_method(rejection_sampler, "rejection_sample", make)


def never_accepting() -> None:
    """Every draft is rejected; the text stays right."""
    from vllm.v1.sample import rejection_sampler

    def make(original: Any) -> Any:
        def sampled(*args: Any, **kwargs: Any) -> Any:
            tokens = original(*args, **kwargs)
            tokens[:, 1:] = -1
            return tokens

        return sampled

    replace_method(rejection_sampler, "rejection_sample", make)


def stale_drafts() -> None:
    """The scheduler gets the drafts of the launch before."""
    before: dict[str, list[int]] = {}

    def make(original: Any) -> Any:
        def taken(runner: Any) -> Any:
            drafts = original(runner)
            if drafts is not None:
                now = dict(zip(drafts.req_ids, drafts.draft_token_ids, strict=True))
                drafts.draft_token_ids = [before.get(name, ids) for name, ids in now.items()]
                before.update(now)
            return drafts

        return taken

    replace_method(runner_class(), "take_draft_token_ids", make)


def features_one_row_late() -> None:
    """The drafter gets the features of the row before."""
    from vllm.v1.spec_decode.llm_base_proposer import SpecDecodeBaseProposer

    def make(original: Any) -> Any:
        def rolled(proposer: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs["target_hidden_states"] = kwargs["target_hidden_states"].roll(1, 0)
            return original(proposer, *args, **kwargs)

        return rolled

    replace_method(SpecDecodeBaseProposer, "set_inputs_first_pass", make)


def draft_vocabulary_offset_lost() -> None:
    """Ids of the drafter's own vocabulary are taken for ids of the teacher's."""
    from vllm.model_executor.models.llama_eagle3 import Eagle3LlamaForCausalLM

    def make(original: Any) -> Any:
        def computed(model: Any, hidden_states: Any) -> Any:
            offsets = model.draft_id_to_target_id.data
            kept = offsets.clone()
            offsets.zero_()
            logits = original(model, hidden_states)
            offsets.copy_(kept)
            return logits

        return computed

    replace_method(Eagle3LlamaForCausalLM, "compute_logits", make)


def temperatures_of_neighbours() -> None:
    """The sampler gets the temperatures of the batch in the opposite order."""

    def make(original: Any) -> Any:
        def sampled(runner: Any, *args: Any, **kwargs: Any) -> Any:
            values = runner.input_batch.sampling_metadata.temperature
            if values is not None and len(values) > 1:
                values.copy_(values.flip(0))
            return original(runner, *args, **kwargs)

        return sampled

    replace_method(runner_class(), "_sample", make)


def cache_hit_beyond_the_prefix() -> None:
    """Where the next block is not in the cache, that of another text is taken for it, once a look-up."""
    from vllm.v1.core.block_pool import BlockPool

    seen: list[Any] = []

    def make(original: Any) -> Any:
        def cached(pool: Any, block_hash: Any, groups: Any) -> Any:
            found = original(pool, block_hash, groups)
            if found:
                seen.append(found)
                return found
            others = [each for each in seen if each[0].block_id != seen[-1][0].block_id]
            taken = others[0] if others else None
            seen.clear()
            return taken

        return cached

    replace_method(BlockPool, "get_cached_block", make)


def eagle_block_not_dropped() -> None:
    """The last block of a hit is kept, although the drafter's rows in it end with another next token."""
    from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager

    original = FullAttentionManager.find_longest_cache_hit.__func__

    def found(cls: type, *args: Any, **kwargs: Any) -> Any:
        return original(cls, *args, **{**kwargs, "drop_eagle_block": False})

    FullAttentionManager.find_longest_cache_hit = classmethod(found)
