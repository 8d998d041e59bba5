"""What a trace shows: pure functions from a `Trace` to a labelled array, one subject a file.

The folder lies at the top of the repository and is imported as `lvlmscope.diagnostics`.
"""

if not __name__.startswith("lvlmscope."):
    raise ImportError(
        f"Asked to import {__name__!r} as a package of its own; it is part of lvlmscope. "
        "Possible is `lvlmscope.diagnostics`: install the repository with `pip install -e .` and import that."
    )

from lvlmscope.diagnostics.anchor_drift import anchor_correlation, layer_correlation
from lvlmscope.diagnostics.gradient_saliency import saliency
from lvlmscope.diagnostics.hidden_state_drift import representation_drift
from lvlmscope.diagnostics.image_attention import image_attention_focus, layer_image_entropy, visual_attention_ratio
from lvlmscope.diagnostics.perception_reasoning_heads import functional_heads
from lvlmscope.diagnostics.sinks import attention_sinks
from lvlmscope.diagnostics.token_confidence import confidence
from lvlmscope.diagnostics.token_grounding import saliency_to_answer, saliency_to_image, saliency_to_previous
from lvlmscope.diagnostics.uniform_reference import uniform_baseline
from lvlmscope.diagnostics.vision_sensitive_heads import sensitive_head_entropy, sensitive_heads
from lvlmscope.traces.synthetic import planted_trace

__all__ = [
    "anchor_correlation",
    "attention_sinks",
    "confidence",
    "functional_heads",
    "image_attention_focus",
    "layer_correlation",
    "layer_image_entropy",
    "planted_trace",
    "representation_drift",
    "saliency",
    "saliency_to_answer",
    "saliency_to_image",
    "saliency_to_previous",
    "sensitive_head_entropy",
    "sensitive_heads",
    "uniform_baseline",
    "visual_attention_ratio",
]
