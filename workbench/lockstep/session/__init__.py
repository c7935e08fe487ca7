"""From a request to what a run needs: options, prompts as turns, the path under test."""
