"""Speculative against greedy decoding: the paper's evaluation and studies, and the choice of a tree."""
