"""Mistakes that are planted in vLLM; each is a function without arguments."""
