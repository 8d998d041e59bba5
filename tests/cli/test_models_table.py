"""`lvlmscope models`: a table that no name is broken in, in narrow terminals too."""

import io

import pytest
from rich.console import Console

from lvlmscope.cli.commands import models as command
from lvlmscope.models.supported_types import list_models


@pytest.mark.parametrize(("width", "classes"), [(80, False), (140, True)])
def test_names_stay_whole_at_any_width(width: int, classes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(command, "console", Console(file=written, width=width))
    command.run_models(as_json=False)
    words = set(written.getvalue().split())
    for model in list_models():
        assert model.model_type in words
        assert (model.model_class in words) == classes or model.model_class in model.note
    assert ("class names: in a terminal of 140 columns" in written.getvalue()) != classes
    assert max(map(len, written.getvalue().splitlines())) <= width


def test_a_reason_is_no_whole_message() -> None:
    notes = {model.model_type: model.note for model in list_models()}
    assert notes["florence2"] == "an encoder-decoder whose prompt lies outside the decoder's sequence"
    assert notes["unlimited_ocr"].startswith("whose reference_sliding_attention layers have as key columns")
    assert notes["pi0"] == "gives actions, no text"
    for note in notes.values():
        assert "expected:" not in note
        assert not note.startswith(("trace a model", "which "))
