"""Images and prompts to tensors that a model takes. Knows no hook and no intervention."""
