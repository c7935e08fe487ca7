"""The contract of `npu_fusion_attention`, the training operator."""
