"""Random directions of a tiny model's stream, in a file."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from lvlmscope.interventions.directions import Directions
from lvlmscope.models.families import family_of
from lvlmscope.models.weights_digest import weights_digest
from tests.support import tiny_models


def planted_directions(model: Any = None) -> str:
    """A file of directions of a model; of the tiny LLaVA when none is given."""
    model = tiny_models.llava().model if model is None else model
    layers = family_of(model).decoder_layers(model)
    hidden = model.config.get_text_config().hidden_size
    vectors = torch.randn(len(layers), hidden, generator=torch.Generator().manual_seed(0))
    made = Directions(torch.nn.functional.normalize(vectors, dim=-1), weights_digest(layers))
    path = Path(tempfile.mkdtemp()) / "directions.safetensors"
    made.save(path)
    return str(path)
