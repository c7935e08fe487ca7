"""Absolute speed against `transformers.generate`: plain greedy, and its own prompt-lookup decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from workbench.bench.session import BenchSession
from workbench.bench.studies.lab import Lab, refused, speed_table
from workbench.bench.tables import Plot, Series, Study
from workbench.fused.teacher_config import build_config, build_empty_model
from workbench.lockstep.choice.decoders import Decoded, Decoder, collector_paused

LOOKUP_TOKENS: Final = 10


def measure(lab: Lab) -> Study:
    """Measure the library and our engine on the same contexts, in turn."""
    model = library_model(lab.session)
    entries = {
        "specwb, speculative": lab.session.speculative(lab.engine),
        "transformers, greedy": library_decoder(lab.session, model),
        "transformers, prompt lookup": library_decoder(lab.session, model, lookup=LOOKUP_TOKENS),
    }
    measured = lab.side_by_side({"specwb, greedy": lab.baseline, **entries})
    names = tuple(one.name for one in measured)
    return Study(
        name="generate",
        title="Against transformers.generate",
        text=(
            "The same weights, dtype and contexts; the library attends by `sdpa`.",
            "Speedups are over our own teacher-only decoding.",
            f"Prompt lookup: prompt_lookup_num_tokens={LOOKUP_TOKENS}; its acceptance is not reported.",
        ),
        tables=(speed_table("Absolute speed", "decoder", measured),),
        plots=(
            Plot(
                "bar",
                "Tokens per second",
                "",
                "tokens per second",
                (Series("tok/s", names, tuple(one.tokens_per_second for one in measured)),),
            ),
        ),
        num_refused=refused(measured),
    )


def library_model(session: BenchSession) -> Any:
    """Return the teacher as the library's own unmodified model, over the shared weights."""
    config = build_config(session.pair.teacher)
    model: Any = build_empty_model(config, "sdpa", getattr(torch, session.dtype))
    model.load_state_dict(dict(session.pair.teacher_weights), strict=True, assign=True)
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(config=config).to(session.device)  # built without memory
    return model.requires_grad_(requires_grad=False)


def library_decoder(session: BenchSession, model: Any, lookup: int | None = None) -> Decoder:
    """Return `generate` as a decoder; the time to its first token cannot be measured and is left out."""
    from transformers import GenerationConfig

    eos = sorted(session.pair.eos_token_ids)

    @torch.inference_mode()
    def decode(prompt: Sequence[int], max_new_tokens: int) -> Decoded:
        config: Any = GenerationConfig(  # type: ignore[no-untyped-call]  # the library's class has no types
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=eos or None,
            pad_token_id=0,
            prompt_lookup_num_tokens=lookup,
        )
        token_ids = torch.tensor([list(prompt)], device=session.device)
        with collector_paused():
            start = session.stopwatch.read()
            output = model.generate(
                token_ids, attention_mask=torch.ones_like(token_ids), generation_config=config
            )
            new = output[0, len(prompt) :].tolist()
            stop = session.stopwatch.read()
        return Decoded(token_ids=tuple(new), seconds=stop - start, first_token_seconds=None)

    return decode
