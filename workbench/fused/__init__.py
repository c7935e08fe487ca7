"""Our fused path, the path under test of the workbench."""
