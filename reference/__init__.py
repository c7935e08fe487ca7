"""The obvious decoder: eager torch, no device, no file format; nothing shared with the fused path."""
