"""Whether a model's rows can be trusted: the self-check, and loading a model with it."""
