"""How ``generate`` runs a model: each forward's arguments, caches that can be cut, a second sequence beside it."""
