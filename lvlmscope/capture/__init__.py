"""Generate, replay, differentiate: from a model and an image to a trace. Knows no diagnostic, no single method."""
