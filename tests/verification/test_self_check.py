"""check, load(check=) and the list of models."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import LvlmscopeError, UnsupportedModelError
from lvlmscope.models.families import DefaultFamily
from lvlmscope.verification.check_cache import cache_folder
from lvlmscope.verification.self_check import check
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_others import OTHERS
from tests.support.traced import from_inputs


@pytest.mark.parametrize("name", ["llava", "gemma3", "mllama", "instructblip", "lfm2_vl"])
def test_a_sound_model_passes_and_is_left_as_it_was(name: str) -> None:
    case = (FAMILIES | OTHERS)[name]()
    case.model.generate(**case.samples[0], max_new_tokens=1)  # transformers installs hooks of its own
    before = tiny_models.footprint(case.model)
    found = check(case.model, inputs=case.samples[0])
    assert found.passed
    assert "rows equal eager attention's" in repr(found)
    assert [f.passed for f in found.findings].count(None) == (1 if name == "mllama" else 0)
    assert tiny_models.footprint(case.model) == before


class OneKeyLess(DefaultFamily):
    """A wrong adapter: it overlooks an image token in its layout."""

    name = "wrong"

    def image_layouts(self, model: Any, keys: Any, inputs: Any, **options: Any) -> Any:
        return super().image_layouts(model, keys[1:], inputs, **options)


def test_a_wrong_adapter_is_found_out() -> None:
    case = FAMILIES["llava"]()
    found = check(case.model, inputs=case.samples[0], family=OneKeyLess())
    assert not found.passed
    with pytest.raises(UnsupportedModelError, match="FAILED      every image token has its cell: 16 image tokens, 15"):
        found.raise_if_failed()


def test_rows_that_do_not_give_the_kernels_output_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows made with another scale than the model's own."""
    from lvlmscope.runtime import row_reading

    honest = row_reading.row_scores
    monkeypatch.setattr(row_reading, "row_scores", lambda call, **options: honest(call, **options) * 1.1)
    case = FAMILIES["llava"]()
    with pytest.raises(UnsupportedModelError, match=r"LlamaAttention \(layer \d, sdpa\), whose output is not that of"):
        check(case.model, inputs=case.samples[0])


def test_weights_of_nan_are_refused() -> None:
    case = FAMILIES["llava"]()
    with torch.no_grad():
        case.model.lm_head.weight.fill_(float("nan"))
    case.model.generate(**case.samples[0], max_new_tokens=1)  # transformers installs hooks of its own
    before = tiny_models.footprint(case.model)
    with pytest.raises(LvlmscopeError, match="logits that are NaN at step 0"):
        from_inputs(case.model, case.samples[0], max_new_tokens=2, do_sample=False)
    assert tiny_models.footprint(case.model) == before


def test_load_checks_once_for_each_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVLMSCOPE_CACHE", str(tmp_path))
    lv.load("tiny", check=False)
    assert not (cache_folder() / "checks").exists()
    lv.load("tiny")
    records = list((tmp_path / "checks").iterdir())
    assert len(records) == 1
    assert "rows sum to 1" in json.loads(records[0].read_text())["check"]
    monkeypatch.setattr("lvlmscope.verification.check_cache.check", lambda _: pytest.fail("checked twice"))
    lv.load("tiny")


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LVLMSCOPE_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be remembered"):
        lv.load("tiny")
