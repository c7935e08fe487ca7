"""Lines to type, by command; `--help` prints them, and a test parses each."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "diff": (
        "specwb diff --prompt file.txt",
        "specwb diff --prompt file.txt --fused my_engine.specwb:factory --dtype bfloat16",
        "specwb diff --prompt file.txt --fault sibling-leak",
        "specwb diff runs/monday runs/tuesday",
    ),
    "locate": (
        "specwb locate --prompt file.txt --fused my_engine.specwb:factory",
        "specwb locate --prompt file.txt --fault next-kv-head --max-new-tokens 8",
        "specwb locate --prompt file.txt --fused my_engine.specwb:factory --swap",
        "specwb locate runs/monday --at 0:0:45",
    ),
    "reduce": (
        "specwb reduce --prompt file.txt --fused my_engine.specwb:factory -o reduced",
        "specwb reduce runs/monday --fused my_engine.specwb:factory --time-limit 300 -o reduced",
        "specwb reduce --prompt file.txt --fault next-kv-head --max-new-tokens 8 -o reduced",
    ),
    "check": (
        "specwb check runs/monday",
        "specwb check --select MASK,KV005 --statistics runs/monday runs/tuesday",
        "specwb check --format sarif --output-file specwb.sarif runs/monday",
    ),
    "view": (
        "specwb view runs/monday",
        "specwb view runs/monday 0:1:12:verify:7 --text --panel visible",
        "specwb view --follow runs/monday",
    ),
    "doctor": (
        "specwb doctor",
        "specwb doctor --model TEACHER_DIR --draft EAGLE3_DIR",
        "specwb doctor --engine",
    ),
    "faults list": ("specwb faults list", "specwb faults list mask rotary"),
    "faults run": (
        "specwb faults run mask",
        "specwb faults run mask --keep runs/faults",
        "specwb faults run --shipped --format markdown --out matrix.md",
    ),
    "bench": (
        "specwb bench --turns 24",
        "specwb bench --turns 24 --study all --out bench-monday",
        "specwb bench --proposer eagle3,medusa,lookup,draft_model,auto --turns 24",
        "specwb bench --humaneval HumanEval.jsonl.gz --tree 60/7/10",
    ),
    "kernels list": ("specwb kernels list", "specwb kernels list npu_rms_norm --format json"),
    "kernels run": (
        "specwb kernels run",
        "specwb kernels run npu_swiglu --candidate my_kernels:swiglu",
        "specwb kernels run npu_swiglu --candidate swiglu.cpp:swiglu --format html --output-file page.html",
    ),
    "kernels judge": ("specwb kernels judge results",),
    "explain": ("specwb explain MASK001", "specwb explain KV"),
    "replay": (
        "specwb replay runs/monday",
        "specwb replay runs/monday --model shipped --step 0:0:12",
        "specwb replay runs/monday --model shipped --step 0:0:12 --continue",
    ),
    "weights pack": (
        "specwb weights pack TEACHER_DIR PACKED_DIR",
        "specwb weights pack layer.bin layer.enec --dtype bfloat16 --parameters 122,6,3",
    ),
    "weights unpack": ("specwb weights unpack PACKED_DIR TEACHER_DIR",),
    "weights verify": (
        "specwb weights verify PACKED_DIR",
        "specwb weights verify layer.enec --parameters 122,6,3 --original layer.bin",
    ),
    "weights experts": (
        "specwb weights experts MOE_DIR",
        "specwb weights experts MOE_DIR --experts 64 --groups 8",
    ),
    "weights stat": ("specwb weights stat model.safetensors --time",),
    "trace info": ("specwb trace info runs/monday",),
    "trace verify": ("specwb trace verify runs/monday runs/tuesday",),
    "trace repair": ("specwb trace repair runs/crashed", "specwb trace repair runs/crashed --out runs/whole"),
    "trace merge": ("specwb trace merge runs/rank0 runs/rank1 --out runs/both",),
    "trace slice": ("specwb trace slice runs/monday --first 0:0:3 --last 0:0:9",),
    "trace export": ("specwb trace export runs/monday --parquet",),
    "trace migrate": ("specwb trace migrate runs/old",),
    "lossless": (
        "specwb lossless my_engine.sampling:verify",
        "specwb lossless --rule block",
        "specwb lossless --list",
    ),
    "texts": ("specwb texts texts.jsonl", "specwb texts texts.jsonl --dtype bfloat16 --format junit"),
    "new-path": ("specwb new-path my_port",),
    "completion": (
        'eval "$(specwb completion bash)"',
        "specwb completion fish > ~/.config/fish/completions/specwb.fish",
    ),
    "campaign plan": (
        "specwb campaign plan code --over tree=24/4/6,12/3/4,dtype=float32,bfloat16 --out nightly",
        "specwb campaign plan synthetic:1000:16,64,256 --over kv_layout=contiguous,paged --out nightly",
    ),
    "campaign run": (
        "specwb campaign run nightly --workers 2 --threads 1",
        "specwb campaign run nightly --on ray=auto",
        "specwb campaign run nightly --on shard=3/8",
    ),
    "campaign merge": (
        "specwb campaign merge nightly",
        "specwb campaign merge nightly last-night --format json",
    ),
}
"""Words of a command -> lines of a shell."""
