"""Published metrics of hallucination and of detection."""
