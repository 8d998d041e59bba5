"""From a state of the residual stream to logits: final norm and output matrix, checked before they are used."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from lvlmscope.errors import UnsupportedModelError, message
from lvlmscope.models.families import Family, family_of
from lvlmscope.models.loaded_model import LoadedModel, unwrap

__all__ = ["Unembedding", "bare_and_family", "unembeddings_of", "verified_unembedding"]

_NORMS: Final = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "final_norm", "embedding_norm", "norm_f")
_TOLERANCE: Final = {torch.float64: 1e-6, torch.float16: 1e-2, torch.bfloat16: 5e-2}  # of the largest logit
_CHECKED: Final = 64  # states
_LOGITS_AT_ONCE: Final = 2**24  # 64 MiB of float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unembedding:
    """What turns states after the last layer into logits.

    Attributes:
        norm: The decoder's final norm.
        head: The output matrix.
        project: What narrows the normed state before the output matrix, None in most models.
        scale: Factor on the logits.
        softcap: c of `c * tanh(logits / c)`, None in most models.
    """

    norm: torch.nn.Module
    head: torch.nn.Module
    project: torch.nn.Module | None = None
    scale: float = 1.0
    softcap: float | None = None

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Logits, float32, on the output matrix's device.

        Args:
            states: `[..., hidden]`.
        """
        for module in (self.norm, self.project, self.head):
            if module is not None:
                states = _placed(states, module)
                states = module(states)
        logits = states.float() * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def in_parts(self, states: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Log-probabilities of some states at a time, so that no more than 64 MiB of them are held.

        Args:
            states: `[row, hidden]`.

        Yields:
            The rows, and their log-probabilities `[row, vocabulary]`.
        """
        size = 1
        start = 0
        while start < len(states):
            part = slice(start, start + size)
            logs = self(states[part]).log_softmax(-1)
            yield part, logs
            start, size = start + size, max(1, _LOGITS_AT_ONCE // logs.shape[-1])


def bare_and_family(model: Any) -> tuple[Any, Family]:
    """A model without its wrapper, and its family's rules.

    Args:
        model: What `load` gave, or a bare model.

    Raises:
        UnsupportedModelError: No vision-language model.
    """
    bare = unwrap(model)
    if isinstance(model, LoadedModel):
        return bare, model.family
    if not hasattr(bare, "config"):
        got, fix = f"{type(bare).__name__}, a module without a config", "give the model that made the trace"
        raise UnsupportedModelError(message(got, "what lv.load gives, or a Hugging Face model", fix))
    return bare, family_of(bare)


def unembeddings_of(model: Any, family: Family) -> tuple[Unembedding, ...]:
    """The ways in which a model may make its logits: plain, and with the scale or cap that its config names.

    Some families have these in their config and do not apply them; `agreeing` finds out.

    Args:
        family: Its family's rules.

    Returns:
        At least one.

    Raises:
        UnsupportedModelError: No final norm or no output matrix can be found.
    """
    norm, beside = _final_norm(model, family)
    plain = Unembedding(norm=norm, head=_output(model, family), project=getattr(beside, "project_out", None))
    text, ways = family.text_config(model), [plain]
    if multiplier := getattr(text, "output_multiplier", None):  # MuseGlimmer, which also caps
        ways.append(replace(plain, scale=float(multiplier), softcap=getattr(text, "final_logit_softcapping", None)))
    if cap := getattr(text, "final_logit_softcapping", None):
        ways.append(replace(plain, softcap=float(cap)))
    if scale := getattr(text, "logit_scale", None):  # Cohere
        ways.append(replace(plain, scale=float(scale)))
    if scaling := getattr(text, "logits_scaling", None):  # Granite
        ways.append(replace(plain, scale=1 / float(scaling)))
    return tuple(ways)


def verified_unembedding(
    ways: Sequence[Unembedding], *, states: torch.Tensor, ids: torch.Tensor, log_probs: torch.Tensor
) -> Unembedding:
    """The way that gives the model's own log-probabilities.

    Args:
        ways: What `unembeddings_of` gave.
        states: States after the last layer `[row, hidden]`.
        ids: Some token ids of each row `[row, some]`.
        log_probs: What the model itself made of them `[row, some]`, nats.

    Returns:
        The first that agrees.

    Raises:
        UnsupportedModelError: None does.
    """
    states, ids, log_probs = states[:_CHECKED], ids[:_CHECKED].cpu(), log_probs[:_CHECKED].float().cpu()
    misses = []
    for way in ways:
        logits = way(states).cpu()
        share = _TOLERANCE.get(next(way.norm.parameters(), states).dtype, 1e-3)
        gap = (logits.log_softmax(-1).gather(-1, ids) - log_probs).abs().max()
        if bool(gap <= share * logits.abs().max().clamp(min=1.0)):
            return way
        misses.append(float(gap))
    got = f"a model whose log-probabilities the lens misses by {min(misses):.3g} nats"
    expected = "models whose logits are their output matrix times the normed stream, scaled or capped"
    raise UnsupportedModelError(message(got, expected, "give the model that made the trace"))


def _output(model: Any, family: Family) -> torch.nn.Module:
    for holder in (model, family.core(model)):
        found = getattr(holder, "get_output_embeddings", lambda: None)()
        if isinstance(found, torch.nn.Module):
            return found
    got, expected = f"{type(model).__name__} without an output matrix", "models with get_output_embeddings()"
    raise UnsupportedModelError(message(got, expected, "use a model of another family"))


def _final_norm(model: Any, family: Family) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The module beside the decoder's list of layers that is named as a final norm, and what holds both."""
    last = family.decoder_layers(model)[-1]
    for module in family.decoder(model).modules():
        if any(child is last for child in getattr(module, "layers", None) or ()):
            for name in _NORMS:
                if isinstance(found := getattr(module, name, None), torch.nn.Module):
                    return found, module
    got, expected = f"{type(model).__name__} without a final norm beside its layers", ", ".join(_NORMS)
    raise UnsupportedModelError(message(got, expected, "use a model of another family"))


def _placed(states: torch.Tensor, module: torch.nn.Module) -> torch.Tensor:
    """On the module's device, in its precision; quantised weights are no floats and take what comes."""
    weight = next(module.parameters(), None)
    if weight is None:
        return states
    device = states.device if weight.device.type == "meta" else weight.device  # offloaded: its hook moves the states
    return states.to(device, weight.dtype if weight.is_floating_point() else None)
