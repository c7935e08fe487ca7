"""The contract of `npu_fused_infer_attention_score`, v1 and v2: one call value, checks by subject."""
