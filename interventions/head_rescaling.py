"""HeadRescaling: scales the outputs of perception and reasoning heads."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.functional_head_rule import HeadRule, head_ratio, layer_at, preset_named, rule_by_share
from lvlmscope.errors import ModelInputError, UnsupportedOptionError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.layers_with_attention import attention_layers
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.compiled_edits import row_edit
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import ForwardInfo, MethodCard, ModelInfo, Session
from lvlmscope.traces.requirements import OneStep, at_step, require_trace
from lvlmscope.traces.trace import Trace

__all__ = ["HeadRescaling"]

_TASK = "configure HeadRescaling"

Layer = Annotated[int, Range(ge=0, noun="a layer number")]
Depth = Annotated[float, Range(ge=0, le=1, noun="a depth (float)")]
Share = Annotated[float, Range(ge=0, le=1)]
Gain = Annotated[float, Range(ge=0)]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRescaling(InterventionConfig):
    """Class-conditioned head rescaling, arXiv 2510.10285 eq. 7-10 (the paper's).

    `S_v[l,h]` is a head's attention on the image in the last row of the current forward. Perception heads have
    `l <= l_perc and S_v >= tau_perc`, reasoning heads `l >= l_reas and S_v <= tau_reas`; the outputs of the former are
    multiplied by `g_perc`, of the latter by `g_reas`, after `a @ v` and before the output projection. Attention stays
    as it was, and nothing is renormalised. A layer that does not see the image, as its window lies past it, has neither
    kind of head, in `functional_heads` too.

    The paper names one query position i* for `S_v`; which one, while an answer is written, is our reading: each
    predicting row's own, or the prompt's last for all (`freeze`), or the mean of several (`queries`). So is the gain on
    all rows of the prompt (`rows`). Gains by layer and by row are options of our own: `1 + s * (g - 1)` takes the place
    of a gain g, with s from `layer_strength` and `row_strength`.

    The defaults are the paper's for Ocean-R1-7B, with its layers as depths. Thresholds are specific to
    a model: take a preset, or `from_trace`.

    Attributes:
        l_perc: Last layer that can hold perception heads: a number, or a depth in [0, 1] (a float, rounded down) among
            the layers with attention.
        tau_perc: Least `S_v` of a perception head, in [0, 1].
        g_perc: Gain of perception heads, 0 or more; both gains 1 are the untouched model, to the last bit.
        l_reas: First layer that can hold reasoning heads: a number, or a depth (rounded up).
        tau_reas: Greatest `S_v` of a reasoning head, below `tau_perc`.
        g_reas: Gain of reasoning heads, 0 or more.
        freeze: `None` classifies the heads in each row; `"prompt"` once, by the prompt's last row.
        rows: Where the gain applies in the prompt's forward: `"all"` its rows, or the `"last"`.
        queries: Query positions whose mean is `S_v`: a predicting row and those before it, back to the prompt's last
            row. More than one is refused under beams, and beside `freeze`.
        layer_strength: A factor s, 0 or more, for each decoder layer; None is 1 for all.
        row_strength: `"unseen"` takes as a factor the share of attention that does not go to the image, on average over
            the layer's heads, in what the classes are taken from; None is 1 for all.
    """

    l_perc: Layer | Depth = 0.26
    tau_perc: Share = 0.22
    g_perc: Gain = 1.16
    l_reas: Layer | Depth = 0.11
    tau_reas: Share = 0.01
    g_reas: Gain = 1.30
    freeze: Literal["prompt"] | None = None
    rows: Literal["all", "last"] = "all"
    queries: Annotated[int, Range(ge=1)] = 1
    layer_strength: tuple[float, ...] | None = None
    row_strength: Literal["unseen"] | None = None

    reference: ClassVar[str] = "arXiv 2510.10285 eq. 7-10"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2510.10285",
        from_paper="rule, gains and their place (eq. 7-10), three presets, 6.4 % of the heads as the best share",
        our_choices="depths in place of layer numbers, from_trace's halves of the share, rows without image keys left; "
        "several query positions, factors by layer and by row (off)",
        cost="one comparison a head; nothing is computed anew",
        search_space={"l_perc": (0.0, 1.0), "tau_perc": (0.05, 0.9), "g_perc": (1.0, 2.0)}
        | {"l_reas": (0.0, 1.0), "tau_reas": (0.0, 0.04), "g_reas": (1.0, 2.0)},
    )

    @task(_TASK)
    def validate(self) -> None:
        """The thresholds do not meet, and the options go together.

        Raises:
            ModelInputError: They do not.
        """
        if self.queries > 1 and self.freeze is not None:
            got, fix = f"queries={self.queries} and freeze={self.freeze!r}", "leave one of them out"
            raise ModelInputError(message(got, "classes from several rows or from one", fix))
        if any(each < 0 for each in self.layer_strength or ()):
            got, fix = f"layer_strength={self.layer_strength}", "give a factor for each layer"
            raise ModelInputError(message(got, "factors of 0 or more", fix))
        if not self.tau_reas < self.tau_perc:
            got, expected = f"tau_reas={self.tau_reas}, tau_perc={self.tau_perc}", "0 <= tau_reas < tau_perc <= 1"
            raise ModelInputError(message(got, expected, "set the thresholds apart"))

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """The paper's setting for one of its models.

        Args:
            name: `"Kimi-VL-A3B-Thinking"`, `"Ocean-R1-7B"` or `"R1-Onevision-7B"`.
            **changes: Parameters that are to differ.

        Returns:
            The intervention.

        Raises:
            ModelInputError: No such preset.

        >>> HeadRescaling.preset("R1-Onevision-7B").tau_perc
        0.3
        """
        chosen = preset_named(name)
        return cls(**(asdict(chosen.rule) | {"g_perc": chosen.g_perc, "g_reas": chosen.g_reas} | changes))

    @classmethod
    @task(_TASK)
    def from_trace(
        cls, trace: Trace, *, share: float = 0.064, step: OneStep | Literal["each"] | None = None, **changes: Any
    ) -> Self:
        """A setting for the traced model: boundaries by relative depth, thresholds from the trace's own `S_v`.

        The thresholds lie between the values of heads, as a head on a threshold would change its class by rounding.
        They hold the share over the rows that they are taken from, as the model is without the intervention: all
        predicting rows, or the prompt's last with `freeze="prompt"`; another `step` holds it at that step alone.

        Args:
            trace: An answer of the model about an image that is typical of its use.
            share: Share of all heads to select, half of it for each class; 0.064 is the paper's best.
            step: Step whose row gives `S_v`; 0 is the prompt's last row. `"mean"`: the mean over all steps; `"each"`:
                all steps together. None for those that the intervention will act on: 0 with `freeze="prompt"`, which is
                the paper's i*, else `"each"`.
            **changes: Parameters that are to differ, such as the gains.

        Returns:
            The intervention.

        Raises:
            ModelInputError: No image in the trace, a bad share, a step that it does not have, or heads so alike that
                the classes meet.
        """
        if not bool(require_trace(trace).image_keys.any()):
            expected = "a trace of an answer about an image"
            raise ModelInputError(message("a trace without an image", expected, "trace with an image"))
        if step is None:
            step = 0 if changes.get("freeze") == "prompt" else "each"
        ratio, layers = head_ratio(trace.rows()), trace.layer_indices
        if isinstance(step, str) and step == "each":
            chosen, layers = ratio.flatten(0, 1), layers * trace.num_steps
        else:
            chosen = at_step(trace, ratio, step)
        rule = rule_by_share(chosen, layers, share=share)
        return cls(**(asdict(_between(rule, chosen, torch.tensor(layers))) | changes))

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model.

        Raises:
            ModelInputError: A layer outside the model.
        """
        last = model_info.num_layers - 1
        for name, layer in (("l_perc", self.l_perc), ("l_reas", self.l_reas)):
            if isinstance(layer, int) and layer > last:
                got = f"{name}={layer} in a model of {model_info.num_layers} layers"
                expected = f"layers 0 to {last}, or a depth (float) from 0 to 1"
                fix = "choose a layer of this model, or HeadRescaling.from_trace"
                raise ModelInputError(message(got, expected, fix, task="switch on HeadRescaling"))
        if self.layer_strength is not None and len(self.layer_strength) != model_info.num_layers:
            got = f"{len(self.layer_strength)} factors in layer_strength"
            expected, fix = f"{model_info.num_layers}, one for each decoder layer", "give as many"
            raise ModelInputError(message(got, expected, fix, task="switch on HeadRescaling"))
        attending = attention_layers(model_info)
        l_perc = self.l_perc if isinstance(self.l_perc, int) else layer_at(self.l_perc, attending, up=False)
        l_reas = self.l_reas if isinstance(self.l_reas, int) else layer_at(self.l_reas, attending, up=True)
        rule = HeadRule(l_perc=l_perc, tau_perc=self.tau_perc, l_reas=l_reas, tau_reas=self.tau_reas)
        return _RescalingSession(self, rule)


def _between(rule: HeadRule, ratio: torch.Tensor, layers: torch.Tensor) -> HeadRule:
    """The rule with its thresholds moved off the heads' own values, so that rounding cannot change a head's class."""
    early, late = ratio[layers <= rule.l_perc], ratio[layers >= rule.l_reas]
    room = (rule.tau_perc - rule.tau_reas) / 4
    below, above = early[early < rule.tau_perc - 1e-6], late[late > rule.tau_reas + 1e-6]
    down = (rule.tau_perc - float(below.max()) if below.numel() else 2 * room) / 2
    up = (float(above.min()) - rule.tau_reas if above.numel() else 2 * room) / 2
    return replace(rule, tau_perc=rule.tau_perc - min(down, room), tau_reas=rule.tau_reas + min(up, room))


@row_edit(by_span=True)
def _ratio(rows: AttentionRows, *, sees: bool) -> torch.Tensor:
    """`S_v`, or the image mass alone."""
    return head_ratio(rows) if sees else rows.image_mass


class _RescalingSession(ImageSession):
    """Classifies the heads of every row; with `freeze`, by the prompt's last row in all later rows."""

    method = "HeadRescaling"
    has_compiled_edit = True

    def __init__(self, config: HeadRescaling, rule: HeadRule) -> None:
        super().__init__()
        self._config, self._rule = config, rule
        self.gain_rows = "all" if config.rows == "all" else "predicting"
        self._has_prompt_end = False
        self._frozen: dict[int, torch.Tensor] = {}
        if config.g_perc == 1 and config.g_reas == 1:
            self.row_layers = frozenset()
        self._heads = 0
        self._unit: torch.Tensor | None = None
        self._first_step = 0
        self._history: dict[int, torch.Tensor] = {}

    def begin_generate(self, options: Mapping[str, Any]) -> None:
        """Refuse beams, which change places, where rows of several steps are averaged."""
        if self._config.queries > 1 and (options.get("num_beams") or 1) > 1:
            got, fix = f"num_beams={options['num_beams']} with queries={self._config.queries}", "leave one of them out"
            doing = "generate with HeadRescaling"
            raise UnsupportedOptionError(message(got, "one row of a sample a step", fix, task=doing))

    def end_generate(self) -> None:
        """Forget the rows of the answer."""
        self._history = {}

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Note whether the prompt's last row is in this forward: frozen classes are taken from it."""
        super().begin_forward(forward)
        first = forward.past_length + forward.first_row
        self._has_prompt_end = first < forward.prompt_length
        self._first_step = first - forward.prompt_length + 1

    def head_gain(self, rows: AttentionRows) -> torch.Tensor | None:
        """Gains by the class of each head."""
        config, layer = self._config, rows.own_layer
        if not self.sees_image or (config.g_perc == 1 and config.g_reas == 1):
            return None
        perceives, reasons = layer <= self._rule.l_perc, layer >= self._rule.l_reas
        # A layer that does not see the image matters to the class of little mass only
        ratio = _ratio(rows, compiled=self.compiled, sees=reasons or config.freeze is not None or config.queries > 1)
        if config.freeze == "prompt":
            if self._has_prompt_end:
                self._frozen[layer] = ratio[:, :1]
            ratio = self._frozen[layer].to(ratio.device).expand_as(ratio)
        elif config.queries > 1:
            ratio = self._averaged(layer, ratio)
        self._heads += ratio.numel()
        gain = self._ones(ratio)
        for name, possible, factor in (("perception", perceives, config.g_perc), ("reasoning", reasons, config.g_reas)):
            if possible:
                chosen = getattr(self._rule, name)(ratio)
                self.sums.add(name, layer, chosen)
                gain = self._scaled(gain, chosen, factor, ratio, layer)
        return gain

    def _averaged(self, layer: int, ratio: torch.Tensor) -> torch.Tensor:
        """The mean of each row's `S_v` and those of the rows before it, as many as `queries` says."""
        wanted = self._config.queries - 1
        before = self._history[layer][:, : self._first_step].to(ratio.device) if self._first_step else ratio[:, :0]
        known = torch.cat([before[:, -wanted:], ratio], 1)
        self._history[layer] = torch.cat([before, ratio], 1)
        sums = torch.nn.functional.pad(known.cumsum(1), (0, 0, 1, 0))
        end = torch.arange(known.shape[1] - ratio.shape[1] + 1, known.shape[1] + 1, device=ratio.device)
        start = (end - wanted - 1).clamp_min(0)
        return (sums[:, end] - sums[:, start]) / (end - start).unsqueeze(-1)

    def _scaled(
        self, gain: torch.Tensor, chosen: torch.Tensor, factor: float, ratio: torch.Tensor, layer: int
    ) -> torch.Tensor:
        """Gains with those of the chosen heads."""
        config = self._config
        if config.layer_strength is None and config.row_strength is None:
            return gain.masked_fill(chosen, factor)
        strength = 1.0 if config.layer_strength is None else config.layer_strength[layer]
        if config.row_strength is None:
            return gain.masked_fill(chosen, 1 + strength * (factor - 1))
        unseen = 1 - ratio.mean(-1, keepdim=True)
        return torch.where(chosen, 1 + strength * unseen * (factor - 1), gain)

    def _ones(self, ratio: torch.Tensor) -> torch.Tensor:
        """Gains of 1, made once for a shape; they are not written into."""
        if self._unit is None or (self._unit.shape, self._unit.device) != (ratio.shape, ratio.device):
            self._unit = torch.ones_like(ratio)
        return self._unit

    def no_effect_reason(self) -> str | None:
        """Why no head was scaled."""
        if not self.sees_image or (self._config.g_perc == 1 and self._config.g_reas == 1):
            return None
        rule = self._rule
        return (
            f"no head up to layer {rule.l_perc} put {rule.tau_perc:.3g} or more of its attention on the image, and "
            f"none from layer {rule.l_reas} on {rule.tau_reas:.3g} or less; HeadRescaling.from_trace finds thresholds"
        )

    def report(self) -> dict[str, Any]:
        """Share of (row, head) pairs of each class, and how many in which layers."""
        count = max(self._heads, 1)
        return (
            super().report()
            | {f"{name}_share": self.sums.total(name) / count for name in ("perception", "reasoning")}
            | {
                f"{name}_heads_per_layer": {str(layer): n for layer, n in self.sums.by_layer(name).items() if n}
                for name in ("perception", "reasoning")
            }
        )
