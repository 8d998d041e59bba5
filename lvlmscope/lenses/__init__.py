"""Logit lenses on answer and image tokens. Knows the model's output matrix."""
