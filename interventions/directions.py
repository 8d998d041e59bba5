"""Directions of the residual stream: from the states of grounded words to those of hallucinated ones."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lvlmscope.errors import InterventionError, OutputError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.paths import path_of
from lvlmscope.interventions.word_steps import difference_of_means
from lvlmscope.models.loaded_model import family_for, unwrap
from lvlmscope.models.weights_digest import weights_digest
from lvlmscope.runtime.protocol import ModelInfo
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.traces.trace import Trace

__all__ = ["Directions"]

_NAME: Final = "directions"
_DIGEST: Final = "model_digest"


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """A unit vector for each decoder layer, and which model's stream it belongs to.

    Attributes:
        vectors: ``[layer, hidden]``, float32: the state after the layer, mean of hallucinated minus mean of grounded
            words, each row of length 1.
        model_digest: Tells the model's weights from another's.
    """

    vectors: Float[torch.Tensor, "layer hidden"]
    model_digest: str

    @classmethod
    @task("find directions")
    @checked
    def between(
        cls,
        model: Any,
        traces: Sequence[Trace],
        *,
        hallucinated: Sequence[Collection[int]],
        grounded: Sequence[Collection[int]],
    ) -> Self:
        """Mean state of the steps of hallucinated words minus that of grounded words, for each layer.

        Args:
            model: The model that made the traces: what ``load`` gave, or a bare one.
            traces: Answers, traced with ``hidden_states=True``.
            hallucinated: Steps of hallucinated words, for each trace; `label_words` finds them.
            grounded: Steps of grounded words, for each trace.

        Returns:
            The directions.

        Raises:
            InterventionError: Traces without hidden states, another number of lists than of traces, a step that an
                answer does not have, or no word of one kind.
            ModelInputError: An object that is not a trace.
        """
        found = difference_of_means(traces, _states, hallucinated=hallucinated, grounded=grounded)
        difference = found[1:]  # the first state is the embedding
        bare = unwrap(model)
        digest = weights_digest(family_for(model).decoder_layers(bare))
        return cls(torch.nn.functional.normalize(difference, dim=-1).float(), digest)

    def save(self, path: str | Path) -> None:
        """Write them as safetensors, with the model's digest.

        Args:
            path: File to write; an existing one is replaced.

        Raises:
            OutputError: It cannot be written.
        """
        with task("save directions"):
            target = path_of(path, OutputError)
            try:
                with whole_file(target) as temporary:
                    save_file({_NAME: self.vectors.contiguous()}, temporary, metadata={_DIGEST: self.model_digest})
            except OSError as error:
                expected = "a file in a folder that exists and can be written to"
                raise OutputError(message(str(error.strerror or error), expected, "choose another path")) from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Args:
            path: File to read.

        Raises:
            InterventionError: No such file, or one that `save` did not write.
        """
        with task("load directions"):
            source, expected = path_of(path, InterventionError), "a file of Directions.save"
            try:
                with safe_open(source, "pt") as file:
                    digest = (file.metadata() or {}).get(_DIGEST)
                    vectors = file.get_tensor(_NAME).clone() if _NAME in file.keys() else None  # noqa: SIM118 - no mapping
            except (OSError, SafetensorError) as error:
                got = " ".join(str(error).split())[:160]
                raise InterventionError(message(got, expected, "check the path")) from error
            if digest is None or vectors is None or vectors.dim() != 2 or vectors.dtype != torch.float32:
                raise InterventionError(message(f"{source.name} with other tensors", expected, "save them again"))
            return cls(vectors, digest)

    def require_model(self, model_info: ModelInfo) -> None:
        """Refuse a model other than the one that they were found with.

        Args:
            model_info: The model.

        Raises:
            InterventionError: It is another.
        """
        shape = [model_info.num_layers, model_info.hidden_size]
        if list(self.vectors.shape) != shape or weights_digest(model_info.decoder_layers) != self.model_digest:
            got = f"directions {list(self.vectors.shape)} of another model"
            expected = f"those of this one, whose stream is {shape}"
            raise InterventionError(message(got, expected, "find them with traces of this model", task="steer"))


def _states(trace: Trace) -> Float[torch.Tensor, "step depth hidden"]:
    if trace.hidden_states is None:
        fix = "trace with hidden_states=True"
        raise InterventionError(message("a trace without hidden states", "traces with them", fix))
    return trace.hidden_states
