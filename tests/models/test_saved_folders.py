"""Folders as the hub keeps them, through `lv.load`: without torchvision, with a broken one, with code of their own."""

import json
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import lvlmscope as lv
from lvlmscope.errors import MissingExtraError, PromptError, UnsupportedModelError, UnsupportedOptionError
from lvlmscope.tiny import scene
from tests.support.saved_folders import FOLDERS, load_folder, save_folder
from tests.support.tiny_models import SUPPRESSED, UNKNOWN

OPTIONS: dict[str, Any] = {"max_new_tokens": 3, "suppress_tokens": [*SUPPRESSED, UNKNOWN], "progress": False}
UNKNOWN_GEOMETRY = "the geometry of {}ForConditionalGeneration is not known to this version"
QUERIES = "a query token of a Q-Former looks at the whole image, not at a part"
UNPLACED = {"blip_2": QUERIES, "instructblip": QUERIES} | {
    name: UNKNOWN_GEOMETRY.format(kind)
    for name, kind in (("glm4v", "Glm4v"), ("idefics2", "Idefics2"), ("vipllava", "VipLlava"))
}


# transformers' Glm4vImageProcessorPil calls np.array on a tensor, which numpy 2 warns of
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_saved_folder_is_loaded_and_traced_without_torchvision(name: str, tmp_path: Path) -> None:
    save_folder(name, tmp_path)
    model = load_folder(tmp_path, name)
    traced = lv.trace(model, scene("prior", 0).image, "w7 w8", **OPTIONS)
    (layout,) = traced.layout.images
    assert layout.reason == UNPLACED.get(name, "")
    assert len(layout.cells) == int(traced.image_keys.sum()) > 0


@pytest.mark.parametrize("name", ["blip_2", "instructblip"])
def test_query_tokens_come_before_the_text_once(name: str, tmp_path: Path) -> None:
    save_folder(name, tmp_path)
    model = load_folder(tmp_path, name)
    traces = list(lv.trace_many(model, [scene("prior", 0).image] * 2, prompt="w7 w8", batch_size=2, **OPTIONS))
    for traced in traces:
        assert traced.image_keys[:19].tolist() == [True] * 16 + [False] * 3  # and BOS, w7, w8
        assert set(traced.tokens[:16]) == {"<image>"}
        traced.save(tmp_path / "one.safetensors")
        assert lv.load_trace(tmp_path / "one.safetensors").tokens == traced.tokens
    with pytest.raises(
        PromptError, match=r"got <image> in the prompt; expected: a question alone: .*leave <image> out"
    ):
        lv.trace(model, scene("prior", 0).image, "<image> w7", **OPTIONS)


def test_the_warning_is_shown_once(tmp_path: Path) -> None:
    save_folder("qwen2_vl", tmp_path)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(2):
            lv.load(tmp_path, check=False)
    assert ["loaded for images only" in str(each.message) for each in shown] == [True]


@pytest.mark.parametrize("name", ["qwen2_vl", "smolvlm"])
def test_a_video_names_what_to_install(name: str, tmp_path: Path) -> None:
    save_folder(name, tmp_path)
    processor = load_folder(tmp_path, name).processor
    with pytest.raises(MissingExtraError, match=r"got a video, and no torchvision.*pip install torchvision"):
        processor(videos=[[Image.new("RGB", (64, 64))] * 4], text=processor.video_token, return_tensors="pt")


def test_the_image_half_can_be_saved_and_loaded_again(tmp_path: Path) -> None:
    save_folder("qwen2_vl", tmp_path / "model")
    model = load_folder(tmp_path / "model", "qwen2_vl")
    model.model.save_pretrained(tmp_path / "again")
    model.processor.save_pretrained(tmp_path / "again")
    again = load_folder(tmp_path / "again", "qwen2_vl")
    assert again.processor.image_processor.to_dict() == model.processor.image_processor.to_dict()


def test_an_image_processor_that_needs_torchvision_itself(tmp_path: Path) -> None:
    save_folder("qwen2_vl", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Cohere2VisionImageProcessor"})
    )
    with pytest.raises(UnsupportedModelError, match="pip install torchvision") as caught:
        lv.load(tmp_path)
    assert "got ;" not in str(caught.value)


def in_a_process(code: str, folder: Path, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python of its own, so that what it imports first is decided anew; standard input waits for an answer."""
    start = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    command = [sys.executable, "-c", start + textwrap.dedent(code), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, input="y\ny\ny\n", timeout=120)


def test_a_torchvision_that_cannot_be_imported_is_told_in_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "site" / "torchvision"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    code = """
        import sys, lvlmscope as lv
        try:
            lv.load("tiny")
        except lv.LvlmscopeError as error:
            print(error)
    """
    done = in_a_process(code, tmp_path, path=tmp_path / "site")
    assert re.search(r"torchvision that cannot be imported \(operator torchvision::nms does not exist\)", done.stdout)
    assert "pip uninstall torchvision" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


OWN_CODE = """
raise SystemExit("the folder's own code has run")
"""


@pytest.mark.slow
@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "preprocessor_config.json"])
def test_code_of_the_folder_is_not_run_and_nobody_is_asked(file: str, tmp_path: Path) -> None:
    save_folder("qwen2_vl", tmp_path)
    for module in ("modeling_own", "configuration_own", "processing_own"):
        (tmp_path / f"{module}.py").write_text(OWN_CODE)
    auto = {
        "config.json": {"AutoConfig": "configuration_own.Own", "AutoModelForImageTextToText": "modeling_own.Own"},
        "processor_config.json": {"AutoProcessor": "processing_own.Own"},
        "preprocessor_config.json": {"AutoImageProcessor": "processing_own.Own"},
    }[file]
    kinds = {"config.json": "model_type", "processor_config.json": "processor_class"}
    written = json.loads((tmp_path / file).read_text())
    written |= {"auto_map": auto, kinds.get(file, "image_processor_type"): "Own"}
    (tmp_path / file).write_text(json.dumps(written))
    code = """
        import sys, lvlmscope as lv
        try:
            lv.load(sys.argv[1])
        except lv.LvlmscopeError as error:
            print(error)
    """
    done = in_a_process(code, tmp_path)
    assert "Do you wish to run" not in done.stdout + done.stderr
    assert "own code has run" not in done.stdout + done.stderr
    assert "pass trust_remote_code=True" in done.stdout


def test_trust_is_true_or_false() -> None:
    with pytest.raises(UnsupportedOptionError, match="trust_remote_code='yes'"):
        lv.load("tiny", trust_remote_code="yes")
