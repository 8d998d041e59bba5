"""Models with interventions inside other tools: lmms-eval, Inspect, and any loop over conversations."""

from lvlmscope.bridges.answerer import Answerer

__all__ = ["Answerer"]
