"""Mixing logits: a third party's method in one file, second sequences of every kind, and what is refused."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import InterventionError, ModelInputError
from lvlmscope.interventions import DLEAF, PAI, VCD
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.protocol import Session
from lvlmscope.runtime.step_logits import StepLogits
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES

STEPS = 4
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": tiny_models.SUPPRESSED}
PLUG_IN = '''
from dataclasses import dataclass
from math import log
import torch
import lvlmscope as lv


@lv.intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast(lv.InterventionConfig):
    """Visual contrastive decoding against an image of noise."""

    alpha: float = 1.0
    beta: float = 0.1

    reference = "arXiv 2311.16922"

    def start(self, model_info):
        return ContrastSession(self)


class ContrastSession(lv.Session):
    def __init__(self, config):
        self.config = config

    def branches(self, prompt):
        return {"noise": prompt.with_pixels(self.noise)} if prompt.has_image else {}

    def noise(self, pixels):
        field = torch.randn(pixels.shape[1:], generator=torch.Generator().manual_seed(0))
        return 0.2 * pixels + field

    def mix_logits(self, step):
        mixed = (1 + self.config.alpha) * step.logits - self.config.alpha * step.branch("noise")
        least = step.logits.amax(-1, keepdim=True) + log(self.config.beta)
        return mixed.masked_fill(step.logits < least, float("-inf"))
'''


def test_a_third_party_writes_a_contrastive_method_in_forty_lines(tmp_path: Path) -> None:
    assert len([line for line in PLUG_IN.splitlines() if line.strip()]) <= 40
    (tmp_path / "contrast_plugin.py").write_text(PLUG_IN)
    info = tmp_path / "contrast_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: contrast-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[lvlmscope.interventions]\nContrast = contrast_plugin:Contrast\n")
    used = """
import lvlmscope as lv
from lvlmscope.interventions.registry import make_intervention
from lvlmscope.tiny import scene
method = make_intervention("contrast", {"alpha": 2.0})
model, image = lv.load("tiny"), scene("prior", 8).image
ask = {"prompt": "Describe the image.", "max_new_tokens": 8}
plain, mixed = (lv.trace(model, image, **ask, interventions=on) for on in ([], [method]))
assert mixed.effects[0]["name"] == "Contrast" and mixed.effects[0]["mixed_rows"] == len(mixed.answer_ids)
assert mixed.provenance["replay"]["difference"] < 1e-3
assert plain.mixed_log_probs is None and (mixed.mixed_log_probs != mixed.log_probs).any()
print(lv.effect(plain, mixed))
"""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}){used}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Contrast: mixed the logits of 8 tokens" in done.stdout


class Mixing:
    """An intervention of one test: its sequences, and what it makes of the logits."""

    def __init__(
        self,
        mix: Callable[[StepLogits], torch.Tensor | None],
        branches: Callable[[PromptInputs], Mapping[str, PromptInputs]] = lambda _: {},
        layers: tuple[int, ...] = (),
    ) -> None:
        self.mix, self.other, self.layers = mix, branches, layers

    def start(self, _: Any) -> Session:
        mix, branches, layers = self.mix, self.other, self.layers

        class Started(Session):
            early_layers = layers

            def branches(self, prompt: PromptInputs) -> Mapping[str, PromptInputs]:
                return branches(prompt)

            def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
                return mix(step)

        return Started()

    def describe(self) -> dict[str, Any]:
        return {"name": "Mixing", "reference": "", "parameters": {}}


def generate(case: Any, inputs: Any = None, **options: Any) -> Any:
    given = case.inputs if inputs is None else inputs
    return case.model.generate(**given, **(OPTIONS | options), return_dict_in_generate=True, output_logits=True)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "qwen3_vl", "gemma3", "instructblip"])
def test_the_same_prompt_beside_the_answer_gives_the_same_logits(family: str) -> None:
    case, gaps = FAMILIES[family](2), []

    def compare(step: StepLogits) -> None:
        gaps.append(float((step.branch("same") - step.logits).abs().max()))

    with intervene(case.model, Mixing(compare, lambda prompt: {"same": prompt})):
        beside = generate(case)
    assert len(gaps) == STEPS
    assert max(gaps) < 1e-4
    assert torch.equal(beside.sequences, generate(case).sequences)


@pytest.mark.parametrize(
    "options", [{"do_sample": True, "num_return_sequences": 3}, {"num_beams": 3}, {"use_cache": False}]
)
def test_rows_of_samples_and_beams_are_followed(options: dict[str, Any]) -> None:
    case, gaps = FAMILIES["qwen2_5_vl"](2), []

    def compare(step: StepLogits) -> None:
        gaps.append(float((step.branch("same").log_softmax(-1) - step.logits.log_softmax(-1)).abs().max()))

    torch.manual_seed(0)
    with intervene(case.model, Mixing(compare, lambda prompt: {"same": prompt})):
        generate(case, **options)
    assert len(gaps) == STEPS
    assert max(gaps) < 1e-4


def test_steps_left_out_follow_in_one_block() -> None:
    case, gaps = FAMILIES["qwen2_5_vl"](2), []

    def compare(step: StepLogits) -> None:
        if step.step == STEPS - 1:
            gaps.append(float((step.branch("same") - step.logits).abs().max()))

    with intervene(case.model, Mixing(compare, lambda prompt: {"same": prompt})):
        generate(case)
    assert gaps[0] < 1e-4


def test_the_other_interventions_edit_a_sequence_only_where_it_asks_for_them() -> None:
    case = tiny_models.llava()
    gaps: dict[str, list[float]] = {"plain": [], "edited": []}

    def compare(step: StepLogits) -> None:
        for name, found in gaps.items():
            found.append(float((step.branch(name) - step.logits).abs().max()))

    both = Mixing(compare, lambda prompt: {"plain": prompt, "edited": prompt.with_edits()})
    with intervene(case.model, DLEAF(gamma=1.0), both) as handle:
        generate(case)
    assert max(gaps["edited"]) < 1e-4
    assert max(gaps["plain"]) > 1e-3
    assert handle.report()[0]["forwards"] == STEPS  # those beside the answer are not counted


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
def test_edits_of_a_method_that_also_mixes_logits_act_on_a_sequence_that_asks_for_them(family: str) -> None:
    case = FAMILIES[family](2)
    gaps: dict[str, list[float]] = {"plain": [], "edited": []}

    def compare(step: StepLogits) -> None:
        for name, found in gaps.items():
            found.append(float((step.branch(name) - step.logits).abs().max()))

    both = Mixing(compare, lambda prompt: {"plain": prompt, "edited": prompt.with_edits()})
    with intervene(case.model, both, PAI(alpha=0.8, gamma=1.2, layers=None)) as handle:
        made = generate(case)
        assert handle.report()[1]["mixed_rows"] == 2 * STEPS
    assert max(gaps["edited"]) < 1e-4  # the edited logits before PAI's own mixing
    assert max(gaps["plain"]) > 1e-3
    with intervene(case.model, PAI(alpha=0.8, gamma=1.2, layers=None)):
        assert torch.equal(generate(case).sequences, made.sequences)


def test_two_that_ask_for_the_edits_of_the_others_are_each_without_their_own() -> None:
    case, gaps = tiny_models.llava(), []

    class Editing(Mixing):
        """Mixes nothing, and halves a layer's stream."""

        def start(self, model_info: Any) -> Session:
            session = super().start(model_info)
            kind = type("Edits", (type(session),), {"edit_hidden": self.halved})
            made: Session = kind()
            return made

        @staticmethod
        def halved(_: Any, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:
            del rows
            return hidden * torch.linspace(0.2, 1, hidden.shape[-1]) if layer == 0 else None

    def compare(step: StepLogits) -> None:
        gaps.append(float((step.branch("edited") - step.logits).abs().max()))

    def edited(prompt: PromptInputs) -> dict[str, PromptInputs]:
        return {"edited": prompt.with_edits()}

    with intervene(case.model, Editing(compare, edited), Mixing(compare, edited)):
        generate(case)
    assert all(gap > 1e-3 for gap in gaps[::2])  # the first's own edit is not one of the others'
    assert max(gaps[1::2]) < 1e-4


def test_early_logits_of_the_last_layer_are_the_models_own() -> None:
    case, gaps = tiny_models.llava(2), []

    def compare(step: StepLogits) -> None:
        gaps.append(float((step.early(2) - step.logits).abs().max()))

    with intervene(case.model, Mixing(compare, layers=(2,))):
        generate(case)
    assert max(gaps) < 1e-5


@pytest.mark.parametrize(
    ("mix", "match"),
    [
        (lambda step: step.branch("smae"), "the branch 'smae'; expected: same; did you mean 'same'"),
        (lambda step: step.early(0), r"layer 0; expected: one of its early_layers \[\]"),
        (
            lambda step: step.look_ahead(step.logits.topk(2).indices, 0),
            "2 tokens in layer 0; expected: at most 0 in it",
        ),
        (lambda step: step.logits[:, :3], "one logit for each row and token"),
        (lambda step: step.logits * float("nan"), "NaN"),
    ],
)
def test_what_is_no_mixture_is_named(mix: Callable[[StepLogits], torch.Tensor], match: str) -> None:
    case = tiny_models.llava()
    mixing = Mixing(mix, lambda prompt: {"same": prompt})
    with pytest.raises(InterventionError, match=match), intervene(case.model, mixing):
        generate(case)
    assert torch.equal(generate(case).sequences, generate(case).sequences)


def test_ids_with_padding_need_their_mask() -> None:
    case = tiny_models.llava(2)
    inputs = {name: value for name, value in case.inputs.items() if name != "attention_mask"}
    pad = int(case.inputs["input_ids"][case.inputs["attention_mask"] == 0][0])
    with pytest.raises(ModelInputError, match="pass the processor's attention_mask"), intervene(case.model, VCD()):
        generate(case, inputs, pad_token_id=pad)


def test_a_prompt_without_its_image_is_padded_anew() -> None:
    ids = torch.tensor([[0, 1, 7, 7, 2, 3], [1, 7, 7, 7, 2, 3]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    prompt = PromptInputs(
        inputs={"input_ids": ids, "attention_mask": mask, "pixel_values": torch.ones(2, 3), "token_type_ids": ids * 0},
        image_keys=ids == 7,
    )
    left = prompt.without_image()
    assert set(left.inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    assert left.inputs["input_ids"].tolist() == [[1, 2, 3], [1, 2, 3]]
    assert left.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert not left.has_image
    assert prompt.has_image
    longer = torch.tensor([[7, 7, 7, 1, 2, 3], [1, 7, 5, 6, 2, 3]])
    shorter = PromptInputs(inputs={"input_ids": longer, "attention_mask": longer * 0 + 1}, image_keys=longer == 7)
    assert shorter.without_image().inputs["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]


def test_words_stand_after_the_image() -> None:
    ids = torch.tensor([[1, 7, 7, 2, 3], [7, 7, 7, 2, 3]])
    prompt = PromptInputs(inputs={"input_ids": ids, "attention_mask": ids * 0 + 1}, image_keys=ids == 7)
    found = prompt.with_words([8, 9])
    assert found.inputs["input_ids"].tolist() == [[1, 7, 7, 8, 9, 2, 3], [7, 7, 7, 8, 9, 2, 3]]
    assert found.inputs["attention_mask"].tolist() == [[1] * 7] * 2
    assert found.image_keys.sum(-1).tolist() == [2, 3]


class Words:
    """A tokenizer whose marks are 4 (around an image) and 5 (the end of a turn)."""

    all_special_ids = (4, 5)
    eos_token_id = 5

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert (text, add_special_tokens) == ("Look twice. ", False)
        return {"input_ids": [8, 9]}


def test_words_follow_the_images_marks_and_stay_in_its_turn() -> None:
    ids = torch.tensor([[1, 7, 7, 4, 2], [2, 7, 7, 4, 5], [3, 4, 7, 7, 4]])
    prompt = PromptInputs(
        inputs={"input_ids": ids, "attention_mask": ids * 0 + 1}, image_keys=ids == 7, tokenizer=Words()
    )
    expected = [[1, 7, 7, 4, 8, 9, 2], [2, 7, 7, 4, 8, 9, 5], [3, 4, 7, 7, 4, 8, 9]]
    assert prompt.with_words("Look twice. ").inputs["input_ids"].tolist() == expected


def test_pixels_keep_their_shape() -> None:
    prompt = PromptInputs(inputs={"pixel_values": torch.ones(1, 3)}, image_keys=torch.ones(1, 1, dtype=torch.bool))
    with pytest.raises(InterventionError, match=r"pixel_values \[1, 2\]; expected: \[1, 3\]"):
        prompt.with_pixels(lambda pixels: pixels[:, :2])
    with pytest.raises(InterventionError, match="an input with pixel values"):
        PromptInputs(inputs={}, image_keys=prompt.image_keys).with_pixels(lambda pixels: pixels)


@pytest.mark.filterwarnings("ignore:VCD does nothing. the prompt holds no image", "ignore:.* changed nothing in")
def test_a_given_answer_is_mixed_as_it_was_generated() -> None:
    model, image = lv.load("tiny"), lv.tiny.scene("prior", 8).image
    ask: dict[str, Any] = {"prompt": "Describe the image.", "interventions": [lv.ICD()]}
    generated = lv.trace(model, image, max_new_tokens=6, **ask)
    given = lv.trace(model, image, answer=generated.answer_ids, **ask)
    assert generated.mixed_log_probs is not None
    assert given.mixed_log_probs is not None
    torch.testing.assert_close(given.mixed_log_probs, generated.mixed_log_probs, atol=1e-4, rtol=1e-4)
