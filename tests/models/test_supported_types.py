"""The list of models rests on a file of measurements; the measurements can be made again."""

import json
from typing import Any

import pytest
import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES

from lvlmscope.errors import UnsupportedModelError
from lvlmscope.models import supported_types
from lvlmscope.models.families import DefaultFamily
from lvlmscope.models.supported_types import VERIFIED_FILE, list_models
from tests.support.verify_models import CASES, entry

HELD: dict[str, Any] = json.loads(VERIFIED_FILE.read_text(encoding="utf-8"))
VERIFIED = {name: made["measured"] for name, made in HELD["models"].items() if made["status"] == "verified"}


@pytest.mark.parametrize("model_type", VERIFIED)
def test_what_is_called_verified_was_measured_and_within_limits(model_type: str) -> None:
    measured = VERIFIED[model_type]
    assert measured["tiny_model"] in CASES
    assert measured["class"] == NAMES[model_type]
    assert measured["passed"]
    passed = {name: found[0] for name, found in measured["checks"].items()}
    assert passed["rows equal eager attention's"] is True
    assert passed["rows sum to 1"] is True
    assert measured["gradient"] > 0
    if isinstance(measured["batch"], dict):
        assert measured["batch"]["attention"] < 1e-4
        assert measured["batch"]["gradient"] < 1e-3 * max(1.0, measured["gradient"])
    else:
        assert "use a padded batch: got a padded batch for" in measured["batch"]
        assert measured["padding_moves_logits"] > 1e-2  # transformers' own fault is still there
    assert measured.get("empty_intervention_changes_nothing") or "cross-attention" in measured["interventions"]


def test_the_list_holds_every_type_with_its_status_and_reason() -> None:
    listed = {model.model_type: model for model in list_models()}
    assert set(listed) == set(NAMES)
    assert {name for name, model in listed.items() if model.status == "verified"} == set(VERIFIED)
    assert listed["florence2"].status == "unsupported"
    assert "encoder-decoder" in listed["florence2"].note
    assert "padded batches are refused" in listed["minimax_m3_vl"].note
    assert all(model.note for model in listed.values() if model.status != "verified")


def test_another_version_of_transformers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supported_types, "version", lambda _: "5.99")
    listed = {model.model_type: model.note for model in list_models()}
    assert listed["llava"].endswith(f"with transformers {HELD['transformers']}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["got_ocr2", "kimi_k25", "ovis2", "florence2"])
def test_a_measurement_made_again_comes_out_the_same(name: str) -> None:
    model_type, made = entry(name)
    held = HELD["models"][model_type]
    assert {field: made[field] for field in ("status", "note")} == {field: held[field] for field in ("status", "note")}


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("kosmos-2", "image_embeds_position_mask"),
        ("idefics", "cross-attention layers"),
        ("git", "before the prompt's ids"),
        ("evolla", "reads a protein"),
    ],
)
def test_models_without_image_tokens_are_listed_and_refused_with_one_reason(model_type: str, reason: str) -> None:
    listed = {model.model_type: model for model in list_models()}[model_type]
    assert listed.status == "unsupported"
    assert reason in listed.note
    model = torch.nn.Linear(1, 1)
    model.config = CONFIG_MAPPING[model_type]()
    with pytest.raises(UnsupportedModelError, match=reason):
        DefaultFamily().require_vision(model)
