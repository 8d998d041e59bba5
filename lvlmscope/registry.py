"""Registries of signals, interventions and model families: names, entry points, close matches."""
