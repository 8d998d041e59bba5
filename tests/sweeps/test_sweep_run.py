"""A sweep on the bundled model: its rows, how it goes on, its failures, and that its split is no matter."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from PIL import Image
from sklearn.metrics import roc_auc_score

import lvlmscope as lv
from lvlmscope.errors import EvaluationError, ModelInputError, OutputError, UnsupportedOptionError
from lvlmscope.evaluation import Dataset, Vocabulary, bundled_dataset, disturbed, label_words
from lvlmscope.evaluation.datasets.items import Item
from lvlmscope.sweeps import part_run
from lvlmscope.sweeps.image_folder import read_image_folder

SHORT: dict[str, Any] = {"part_size": 4, "batch_size": 4, "max_new_tokens": 8, "progress": False}
SAMPLED: dict[str, Any] = SHORT | {
    "do_sample": True,
    "temperature": 1.3,
    "signals": ["log_prob", "layer_image_entropy"],
}


@pytest.fixture(scope="module")
def model() -> lv.LoadedModel:
    return lv.load("tiny", check=False)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return bundled_dataset("tiny-chair", n=3)


@pytest.fixture(scope="module")
def sampled(model: lv.LoadedModel, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> lv.Sweep:
    return lv.sweep(model, data, tmp_path_factory.mktemp("sampled"), **SAMPLED)


def tables(sweep: lv.Sweep) -> dict[str, list[dict[str, Any]]]:
    """All rows, in order; NaN as text, which is equal to itself."""
    found = {}
    for name in ("words", "images", "errors"):
        frame = getattr(sweep, name).to_table().to_pylist()
        found[name] = json.loads(json.dumps(frame))
    return json.loads(json.dumps(found).replace("NaN", '"NaN"'))


def test_a_words_row_is_what_a_trace_of_it_says(model: lv.LoadedModel, data: Dataset, tmp_path: Path) -> None:
    few = replace(data, items=data.items[:4])
    found = lv.sweep(model, few, tmp_path, **SHORT | {"batch_size": 1})
    assert found.finished
    assert found.counts()["images"] == 4
    rows = found.words.to_table().to_pylist()
    for item in few.items:
        trace = lv.trace(model, item.open(), "Describe the image.", max_new_tokens=8, progress=False)
        words = label_words(trace, item.objects or (), data.vocabulary)
        own = [row for row in rows if row["item_id"] == item.id]
        assert [(row["text"], row["label"], row["category"]) for row in own] == [
            (word.text, word.label, word.category) for word in words
        ]
        entropy = lv.layer_image_entropy(trace).transpose("step", "layer").to_numpy()
        for row, word in zip(own, words, strict=True):
            np.testing.assert_array_equal(np.float32(row["layer_image_entropy"]), entropy[word.steps[0]])
            assert row["log_prob"] == trace.log_probs[word.steps[0]].item()


def test_what_is_whole_is_kept_and_what_is_missing_is_made_again(
    model: lv.LoadedModel, data: Dataset, sampled: lv.Sweep
) -> None:
    before, parts = tables(sampled), sorted((sampled.folder / "images").iterdir())
    moments = [part.stat().st_mtime_ns for part in parts]
    parts[1].unlink()
    assert lv.load_sweep(sampled.folder).missing == (1,)
    assert tables(lv.sweep(model, data, sampled.folder, **SAMPLED)) == before
    after = [part.stat().st_mtime_ns for part in parts]
    assert [one == other for one, other in zip(moments, after, strict=True)] == [True, False, True]


def test_ranks_give_the_same_rows_to_the_last_bit(
    model: lv.LoadedModel, data: Dataset, sampled: lv.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    half = lv.sweep(model, data, tmp_path, **SAMPLED)
    assert half.missing == (0, 2)
    monkeypatch.setenv("RANK", "0")
    assert tables(lv.sweep(model, data, tmp_path, **SAMPLED)) == tables(sampled)


def test_batch_sizes_change_no_noise_and_values_by_rounding_alone(
    model: lv.LoadedModel, data: Dataset, sampled: lv.Sweep, tmp_path: Path
) -> None:
    alone = tables(lv.sweep(model, data, tmp_path, **SAMPLED | {"batch_size": 1}))
    together = tables(sampled)
    assert [row["answer"] for row in alone["images"]] == [row["answer"] for row in together["images"]]
    assert len({row["answer"] for row in alone["images"]}) > len(data) // 2
    got = [row["log_prob"] for row in alone["words"]]
    np.testing.assert_allclose(got, [row["log_prob"] for row in together["words"]], atol=1e-4)


def test_broken_images_become_rows(model: lv.LoadedModel, data: Dataset, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    bad = Item(id="bad", image=str(broken), image_id="bad", objects=(), place="row 2")
    mixed = replace(data, items=(data.items[0], bad, *data.items[1:3]))
    found = lv.sweep(model, mixed, tmp_path / "out", **SHORT)
    (row,) = found.errors.to_table().to_pylist()
    assert (row["item_id"], row["place"], row["stage"], row["error"]) == ("bad", "row 2", "image", "ImageInputError")
    assert found.images.to_table()["item_id"].to_pylist() == [item.id for item in mixed.items if item.id != "bad"]


def test_a_batch_out_of_memory_is_halved(
    model: lv.LoadedModel, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two items fit; the one with the longest id never does."""
    whole = part_run.replay_prepared
    worst = part_run.item_seed(0, data.items[2].id)

    def small(*args: Any, seed: list[int], **options: Any) -> Any:
        if len(seed) > 2 or worst in seed:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(*args, seed=seed, **options)

    monkeypatch.setattr(part_run, "replay_prepared", small)
    found = lv.sweep(model, replace(data, items=data.items[:4]), tmp_path, **SHORT)
    assert found.images.to_table()["batch_size"].to_pylist() == [2, 2, 1]
    (row,) = found.errors.to_table().to_pylist()
    assert (row["item_id"], row["stage"], row["error"]) == (data.items[2].id, "trace", "OutOfMemoryError")


@pytest.mark.parametrize(
    ("options", "named"),
    [({"seed": 1}, "seed"), ({"signals": ["entropy"]}, "signals"), ({"interventions": lv.DLEAF()}, "interventions")],
)
def test_another_sweep_into_the_folder_is_refused(
    model: lv.LoadedModel, data: Dataset, sampled: lv.Sweep, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(EvaluationError, match=f"made with other {named}; expected: the same"):
        lv.sweep(model, data, sampled.folder, **SAMPLED | options)


def test_other_weights_data_and_schemas_are_refused(
    model: lv.LoadedModel, data: Dataset, sampled: lv.Sweep, tmp_path: Path
) -> None:
    weight = next(iter(model.model.parameters()))
    first = weight.data.view(-1)[0].item()
    weight.data.view(-1)[0] += 1.0
    try:
        with pytest.raises(EvaluationError, match="made with other model;"):
            lv.sweep(model, data, sampled.folder, **SAMPLED)
    finally:
        weight.data.view(-1)[0] = first
    with pytest.raises(EvaluationError, match="made with other data, images;"):
        lv.sweep(model, replace(data, items=data.items[:8]), sampled.folder, **SAMPLED)
    manifest = json.loads((sampled.folder / "sweep.json").read_text(encoding="utf-8"))
    (tmp_path / "sweep.json").write_text(json.dumps(manifest | {"lvlmscope_sweep": 99}), encoding="utf-8")
    with pytest.raises(EvaluationError, match="of format 99; expected: format 2; use the version that wrote it"):
        lv.sweep(model, data, tmp_path, **SAMPLED)


@pytest.mark.parametrize(
    "change", [{"parts": 10**9}, {"parts": -1}, {"layers": None}, {"settings": {}}, {"signals": ["x"]}, {"more": 1}]
)
def test_a_manifest_that_was_changed_is_refused(
    model: lv.LoadedModel, data: Dataset, sampled: lv.Sweep, tmp_path: Path, change: dict[str, Any]
) -> None:
    shutil.copytree(sampled.folder, tmp_path, dirs_exist_ok=True)
    manifest = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    (tmp_path / "sweep.json").write_text(json.dumps(manifest | change), encoding="utf-8")
    readers: list[Callable[[], Any]] = [
        lambda: lv.load_sweep(tmp_path),
        lambda: lv.aggregate(tmp_path, "log_prob", by="word"),
        lambda: lv.sweep(model, data, tmp_path, **SAMPLED),
    ]
    for read in readers:
        with pytest.raises(EvaluationError, match=r"sweep\.json, which was changed after it was written"):
            read()


def test_a_damaged_table_is_refused_and_its_part_done_again(
    model: lv.LoadedModel, data: Dataset, sampled: lv.Sweep, tmp_path: Path
) -> None:
    shutil.copytree(sampled.folder, tmp_path, dirs_exist_ok=True)
    damaged = tmp_path / "words" / "part-000000.parquet"
    damaged.write_bytes(damaged.read_bytes()[:300])
    swept = lv.load_sweep(tmp_path)
    for read in (swept.counts, lambda: swept.words, lambda: lv.aggregate(tmp_path, "log_prob", by="word")):
        with pytest.raises(EvaluationError, match=r"words: .*delete that file and run the same sweep again"):
            read()
    damaged.unlink()
    assert swept.missing == (0,)
    again = lv.sweep(model, data, tmp_path, **SAMPLED)
    assert again.finished
    assert again.words.to_table().equals(sampled.words.to_table())


def test_a_part_that_is_not_the_sweeps_is_not_read(sampled: lv.Sweep, tmp_path: Path) -> None:
    shutil.copytree(sampled.folder, tmp_path, dirs_exist_ok=True)
    for table in ("words", "images", "errors"):
        shutil.copy(tmp_path / table / "part-000000.parquet", tmp_path / table / "part-000077.parquet")
    assert lv.load_sweep(tmp_path).counts() == sampled.counts()
    assert lv.aggregate(tmp_path, "log_prob", by="word").equals(lv.aggregate(sampled.folder, "log_prob", by="word"))


def test_other_images_settings_and_preparation_are_refused(
    model: lv.LoadedModel, data: Dataset, sampled: lv.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EvaluationError, match="made with other images;"):
        lv.sweep(model, disturbed(data, noise=0.5), sampled.folder, **SAMPLED)
    one = {name: [name] for name in data.vocabulary.categories} if data.vocabulary else {}
    for words in (one, {**one, "sofa": ["sofa"]}):
        other = replace(data, vocabulary=Vocabulary(words))
        with pytest.raises(EvaluationError, match="made with other words;"):
            lv.sweep(model, other, sampled.folder, **SAMPLED)
    with monkeypatch.context() as patched:
        patched.setattr(model.model.generation_config, "repetition_penalty", 2.0)
        with pytest.raises(EvaluationError, match="made with other generation_config;"):
            lv.sweep(model, data, sampled.folder, **SAMPLED)
    with monkeypatch.context() as patched:
        patched.setattr(model.processor.image_processor, "image_mean", [0.1] * 3)
        with pytest.raises(EvaluationError, match="made with other processor;"):
            lv.sweep(model, data, sampled.folder, **SAMPLED)


def test_other_files_under_the_same_names_are_refused(model: lv.LoadedModel, tmp_path: Path) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for size in (40, 60):
        Image.effect_noise((size, size), 90).convert("RGB").save(folder / "one.png")
        if size == 40:
            lv.sweep(model, read_image_folder(folder), out, **SHORT)
    with pytest.raises(EvaluationError, match="made with other images;"):
        lv.sweep(model, read_image_folder(folder), out, **SHORT)


def test_a_full_disk_is_named_and_the_sweep_goes_on_later(
    model: lv.LoadedModel, data: Dataset, sampled: lv.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = pq.write_table, []

    def full(*args: Any, **options: Any) -> None:
        calls.append(args)
        if len(calls) > 4:  # in the middle of the second part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", full)
        with pytest.raises(OutputError, match=r"No space left on device, at part 1; .* whole parts are kept"):
            lv.sweep(model, data, tmp_path, **SAMPLED)
    assert lv.load_sweep(tmp_path).missing == (1, 2)
    assert tables(lv.sweep(model, data, tmp_path, **SAMPLED)) == tables(sampled)


def test_folders_that_cannot_be_used_are_refused_before_anything_runs(
    model: lv.LoadedModel, data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="expected: a folder that can be written to"):
        lv.sweep(model, data, tmp_path / "file" / "below", **SHORT)
    with pytest.raises(OutputError, match="expected: a folder that can be written to"):
        lv.sweep(model, data, "/proc/sweep", **SHORT)  # nobody writes there, not even root
    (tmp_path / "words").mkdir()
    with pytest.raises(EvaluationError, match=r"with words and without sweep\.json"):
        lv.sweep(model, data, tmp_path, **SHORT)


@pytest.mark.parametrize("name", [".writer-0-of-1.lock", ".writer-3-of-4.lock"])
def test_two_writers_are_refused(model: lv.LoadedModel, data: Dataset, tmp_path: Path, name: str) -> None:
    with FileLock(tmp_path / name), pytest.raises(OutputError, match="into which another process writes"):
        lv.sweep(model, data, tmp_path, **SHORT)


def test_wrong_options_are_refused(model: lv.LoadedModel, data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ModelInputError, match="got part_size=3; expected: a whole number from 4 to 64"):
        lv.sweep(model, data, tmp_path, part_size=3)
    with pytest.raises(EvaluationError, match="expected: a Dataset, or 'tiny-chair'"):
        lv.sweep(model, "coco", tmp_path)
    with pytest.raises(UnsupportedOptionError, match="a name or folder, which every worker loads"):
        lv.sweep(model, data, tmp_path, engine="ray")


def test_detectors_are_scored_and_a_model_is_calibrated_from_a_sweep(model: lv.LoadedModel, tmp_path: Path) -> None:
    names = ["image_attention_focus", "entropy", "position"]
    data = bundled_dataset("tiny-chair", n=10)
    swept = lv.sweep(model, data, tmp_path, signals=names, part_size=32, max_new_tokens=24, progress=False)
    found = lv.score_signals(tmp_path, signals=names[:2], folds=2, resamples=20)
    words = swept.words.to_table().to_pandas()
    words = words[words["label"].isin(["grounded", "hallucinated"])]
    assert found.words == len(words)
    values = np.stack(words["image_attention_focus"].to_list())
    wrong = words["label"] == "hallucinated"
    expected = [roc_auc_score(wrong, values[:, layer]) for layer in range(8)]
    np.testing.assert_allclose(found.by_layer["auroc"].sel(signal="image_attention_focus"), expected)
    with pytest.raises(EvaluationError, match="which the sweep did not read"):
        lv.score_signals(tmp_path, signals=["margin"])
    with pytest.raises(EvaluationError, match="tokens='mean' of a sweep that read 'first'"):
        lv.score_signals(tmp_path, tokens="mean")
    with pytest.raises(EvaluationError, match="a sweep's folder with labels"):
        lv.score_signals(tmp_path, [])
    calibration = lv.calibrate(model, tmp_path)
    assert set(calibration.references) == set(names)
    assert calibration.hallucinated_words == int(wrong.sum())


def test_pandas_reads_a_sweep_in_one_line(sampled: lv.Sweep) -> None:
    words = pd.read_parquet(sampled.folder / "words")
    assert len(words) == sampled.counts()["words"]
    assert len(words["layer_image_entropy"][0]) == 8


def test_metadata_of_a_part_says_format_and_layers(sampled: lv.Sweep) -> None:
    schema = pq.read_schema(sampled.folder / "words" / "part-000000.parquet")
    facts = json.loads(schema.metadata[b"lvlmscope_sweep"])
    assert facts == {"format": 2, "part": 0, "layers": list(range(8)), "tokens": "first"}
    assert schema.field("layer_image_entropy").type == pa.list_(pa.float32(), 8)


def test_a_folder_of_images_is_a_data_set(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.JPG", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("txt"):
            (tmp_path / name).touch()
        else:
            Image.new("RGB", (8, 8)).save(tmp_path / name, format="png")
    found = read_image_folder(tmp_path)
    assert [item.id for item in found.items] == ["a/c.JPG", "b.png"]
    assert found.items[0].open().size == (8, 8)
    with pytest.raises(EvaluationError, match="without images"):
        read_image_folder(tmp_path / "none")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).touch()
    with pytest.raises(EvaluationError, match="expected: a name in UTF-8"):
        read_image_folder(tmp_path)


def killed(repository: Path, home: Path, kills: int) -> None:
    """After that many kills at random moments nothing is lost, and no whole part was made twice."""
    script = repository / "tests" / "support" / "killed_sweeps.py"
    command = [sys.executable, str(script), str(home), str(kills), "0"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    log = json.loads((home / "log.json").read_text(encoding="utf-8"))
    assert log["killed"] > kills // 2
    assert {name: log["end"][name] for name in log["seen"]} == log["seen"]
    found = lv.load_sweep(home / "killed")
    assert found.finished
    assert tables(found) == tables(lv.load_sweep(home / "whole"))


@pytest.mark.slow
def test_kills_lose_and_repeat_nothing(repository: Path, tmp_path: Path) -> None:
    killed(repository, tmp_path, kills=4)


@pytest.mark.slow
def test_twenty_kills_lose_and_repeat_nothing(repository: Path, tmp_path: Path) -> None:
    killed(repository, tmp_path, kills=20)
