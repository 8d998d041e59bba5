"""Interventions at work: their protocol, the hooks of one model, what is attached. Knows no single method."""
