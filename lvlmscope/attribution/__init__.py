"""Perturbation and path attribution: how a word's probability depends on parts of the image, without attention.

Occlusion and integrated gradients run the model again over a traced answer, through captum; `infidelity` and
`max_sensitivity` tell how far any map of the image, attention too, may be believed.
"""

from lvlmscope.attribution.faithfulness import infidelity
from lvlmscope.attribution.path_gradients import integrated_gradients
from lvlmscope.attribution.perturbation import occlusion
from lvlmscope.attribution.robustness import max_sensitivity

__all__ = ["infidelity", "integrated_gradients", "max_sensitivity", "occlusion"]
