"""How ``generate`` runs a model: arguments of its forwards, caches that can be cropped, branches (second sequences)."""
