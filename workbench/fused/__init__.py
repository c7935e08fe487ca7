"""Our fused path, the patient of the workbench."""
