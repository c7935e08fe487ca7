"""Runs one job inside the engine's environment: `inside.py JOB.json`, texts as JSON on the last line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def run_job(job: dict[str, Any]) -> dict[str, list[list[int]]]:
    """Start the engine and return the token ids of every request, run by run."""
    from engines import prepared
    from engines.faults import drafts, inputs, second

    rooms = (prepared, inputs, drafts, second)
    for word in job["prepared"]:
        next(getattr(each, word) for each in rooms if hasattr(each, word))()
    import vllm

    engine = vllm.LLM(**job["options"])
    encode = engine.get_tokenizer().encode
    prefix = encode(job["prefix"])[: job["prefix_tokens"]]
    bare = [encode(text, add_special_tokens=False) for _, text in job["prompts"]]
    prompts = [
        {"prompt_token_ids": [*(prefix if is_shared else prefix[:1]), *ids]}
        for (is_shared, _), ids in zip(job["prompts"], bare, strict=True)
    ]
    texts = {}
    for name, temperatures in job["runs"].items():
        asked = [
            vllm.SamplingParams(temperature=temperature, max_tokens=limit, ignore_eos=True)
            for temperature, limit in zip(temperatures, job["max_tokens"], strict=True)
        ]
        outputs = engine.generate(prompts, asked, use_tqdm=False)
        texts[name] = [list(output.outputs[0].token_ids) for output in outputs]
    return texts


if __name__ == "__main__":
    print(json.dumps(run_job(json.loads(Path(sys.argv[1]).read_text()))))
