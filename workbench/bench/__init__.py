"""The paper's evaluation and the costs of the workbench."""
