"""The cell that is shipped for the bundled model: small, of its size, and measurably at work."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lvlmscope as lv
from lvlmscope.evaluation.bundled_benchmark import caption_scores

FOLDER = Path(str(files("lvlmscope.tiny"))) / "hallurnn"


def test_the_cell_is_small_and_fits_the_bundled_model() -> None:
    weights = FOLDER / "cell.safetensors"
    assert weights.stat().st_size < 1e6
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.float16}
    assert "hallurnn/" in (FOLDER.parent / "NOTICE").read_text()
    handle = lv.attach(lv.load("tiny"), lv.HalluRNN())
    with pytest.warns(UserWarning, match="no forward of the model ran"):
        handle.remove()


def test_it_makes_up_less_where_a_usual_partner_is_missing() -> None:
    """On scenes that it was chosen on: that it works at all; how well on others stands in the docs."""
    model = lv.load("tiny")
    held = [one for one in lv.tiny.scenes("tune", n=120) if one.missing_partners][:40]
    plain = caption_scores(model.model, model.processor, held, max_new_tokens=48)
    with lv.intervene(model, lv.HalluRNN()) as handle:
        edited = caption_scores(model.model, model.processor, held, max_new_tokens=48)
    assert edited["chair_s"] < plain["chair_s"] - 0.05
    assert edited["recall"] > plain["recall"] - 0.1
    report = handle.report()[0]
    assert not report["stagnant"]
    assert all(0.4 < mean < 0.95 for gate in report["gate_means_per_layer"].values() for mean in gate.values())
