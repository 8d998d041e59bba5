"""Evaluations: rows on the same items, differences with intervals, controls, and folders that can be read again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import lvlmscope as lv
from lvlmscope.errors import EvaluationError, ImageInputError, InterventionError, ModelInputError, OutputError
from lvlmscope.evaluation import (
    Dataset,
    Evaluation,
    Item,
    Vocabulary,
    chair,
    compare_runs,
    cut_to_mentions,
    load_run,
    make_questions,
    markdown,
    mcnemar,
    pope,
    read_coco,
    read_table,
    save_run,
    score_answers,
)
from lvlmscope.evaluation.captioning import answers
from lvlmscope.evaluation.intervention_labels import labelled_stacks
from lvlmscope.evaluation.paired_differences import paired_differences
from lvlmscope.models.loaded_model import LoadedModel
from tests.reference.length_matched import first_mentions
from tests.support.coco_scenes import CocoFiles, write_coco

pytestmark = pytest.mark.usefixtures("unchecked_shapes")  # wrong arguments meet the library's own messages

TOKENS = 20
WORDS = Vocabulary({"dog": ["dog"], "cat": ["cat"], "cow": ["cow"], "car": ["car"]})


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return lv.load("tiny", check=False)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> CocoFiles:
    return write_coco(tmp_path_factory.mktemp("coco"), n=4)


@pytest.fixture(scope="module")
def run(coco: CocoFiles, model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    out = tmp_path_factory.mktemp("run") / "new"
    stacks = {"less": lv.LocoRE(beta=0.8), "stack": [lv.HalluRNN(), lv.LocoRE()]}
    options: dict[str, Any] = {"batch_size": 3, "max_new_tokens": TOKENS, "placebo": True, "resamples": 200}
    return lv.evaluate(model, read_coco(coco.instances, coco.images), stacks, out=out, **options), out


def dataset(*objects: set[str]) -> Dataset:
    items = [Item(id=str(n), image=None, image_id=str(n), objects=tuple(sorted(o))) for n, o in enumerate(objects)]
    return Dataset(name="planted", metric="chair", items=tuple(items), vocabulary=WORDS)


def questions(*labels: bool, metric: Any = "pope", kinds: str = "a") -> Dataset:
    """Two questions about each image."""
    items = [
        Item(id=str(n), image=None, image_id=str(n // 2), question="A dog?", label=label, kind=kinds)
        for n, label in enumerate(labels)
    ]
    return Dataset(name="asked", metric=metric, items=tuple(items))


def test_rows_are_what_the_model_says_in_the_items_order(
    run: tuple[Evaluation, Path], coco: CocoFiles, model: LoadedModel
) -> None:
    result, _ = run
    assert result.labels == (
        *("plain", "less", "plain, cut to the mentions of less", "placebo of less"),
        *("stack", "plain, cut to the mentions of stack", "placebo of stack"),
    )
    pairs = [(scene.image, "Describe the image.") for scene in coco.scenes]
    texts = answers(model.model, model.processor, pairs, max_new_tokens=TOKENS, batch_size=3)
    assert list(result.row("plain").answers) == texts
    with lv.intervene(model, lv.HalluRNN(), lv.LocoRE()):
        stacked = answers(model.model, model.processor, pairs, max_new_tokens=TOKENS, batch_size=3)
    assert list(result.row("stack").answers) == stacked
    expected = chair(texts, [scene.present for scene in coco.scenes], lv.evaluation.coco_vocabulary()).summary()
    for name in ("chair_i", "chair_s", "recall", "mean_words"):
        assert result.scores["plain"][name] == pytest.approx(expected[name], nan_ok=True)
    less = result.row("less")
    assert less.interventions[0]["parameters"]["beta"] == 0.8
    assert less.edits[0]["edited_heads"] > 0
    assert max(less.tokens) <= TOKENS
    assert all(tokens == TOKENS for tokens, cut in zip(less.tokens, less.cut, strict=True) if cut)
    sham = result.row("placebo of less")
    assert (sham.role, sham.control_of) == ("placebo", "less")
    assert sham.edits[0]["name"] == "Placebo"


def test_every_intervention_is_compared_with_plain_and_with_its_controls(run: tuple[Evaluation, Path]) -> None:
    result, _ = run
    pairs = {(one.row, one.against) for one in result.comparisons}
    for name in ("less", "stack"):
        cut, sham = f"plain, cut to the mentions of {name}", f"placebo of {name}"
        assert {(name, "plain"), (name, cut), (name, sham), (sham, "plain")} <= pairs
        assert (np.array(result.row(cut).counts["named"]) <= result.row(name).counts["named"]).all()
    gap = result.difference("less", "plain").differences["mean_words"]
    assert gap.value == pytest.approx(result.scores["less"]["mean_words"] - result.scores["plain"]["mean_words"])
    assert gap.low <= gap.value <= gap.high


def test_the_folder_holds_all_of_it(run: tuple[Evaluation, Path]) -> None:
    result, out = run
    assert sorted(path.name for path in out.iterdir()) == ["answers.parquet", "results.json", "table.md"]
    told = json.loads((out / "results.json").read_text("utf-8"))
    assert told["settings"]["versions"]["lvlmscope"] == lv.__version__
    assert told["settings"]["seed"] == 0
    assert told["settings"]["model"]["name"] == "tiny"
    assert told["settings"]["data"]["unannotated"] == "refuse"
    table = pq.read_table(out / "answers.parquet").to_pandas()
    plain = table[table.row == "plain"]
    assert plain.answer.tolist() == list(result.row("plain").answers)
    assert plain.hallucinated.sum() / plain.named.sum() == pytest.approx(told["rows"][0]["scores"]["chair_i"])
    back = load_run(out)
    assert markdown(back) == markdown(result) == (out / "table.md").read_text("utf-8")
    assert back.difference("stack", "plain") == result.difference("stack", "plain")


def test_a_run_that_is_not_whole_is_refused(run: tuple[Evaluation, Path], tmp_path: Path) -> None:
    result, _ = run
    save_run(result, tmp_path)
    told = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    for change in ({"items": -1}, {"rows": None}, {"comparisons": []}, {"name": "another"}):
        (tmp_path / "results.json").write_text(json.dumps(told | change), encoding="utf-8")
        with pytest.raises(EvaluationError, match=r"results\.json, which was changed after it was written"):
            load_run(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps(told), encoding="utf-8")
    assert load_run(tmp_path).name == result.name
    (tmp_path / "answers.parquet").write_bytes((tmp_path / "answers.parquet").read_bytes() + b"0")
    with pytest.raises(EvaluationError, match=r"which belongs to another run than results.json"):
        load_run(tmp_path)
    (tmp_path / "answers.parquet").unlink()
    with pytest.raises(EvaluationError, match=r"answers.parquet: .*expected: a folder that lvlmscope eval"):
        load_run(tmp_path)
    with pytest.raises(EvaluationError, match="expected: a folder that lvlmscope eval"):
        load_run(tmp_path / "gone")
    (tmp_path / "results.json").write_text('{"lvlmscope_evaluation": 9}', encoding="utf-8")
    with pytest.raises(EvaluationError, match="of format 9; expected: format 1"):
        load_run(tmp_path)
    with pytest.raises(OutputError, match="expected: a folder that can be written to"):
        save_run(result, tmp_path / "results.json")


@pytest.mark.parametrize(
    "answers", [{"plain": ["\ud83d"] * 4}, {"\ud83d": ["A dog."] * 4}, {"plain": [1] * 4}, {1: [""] * 4}]
)
def test_answers_that_are_no_text_are_refused(coco: CocoFiles, answers: Any) -> None:
    with pytest.raises(EvaluationError, match="among labels and answers; expected: Unicode texts"):
        score_answers(read_coco(coco.instances), answers)


def test_runs_are_compared_on_the_same_items(run: tuple[Evaluation, Path], coco: CocoFiles) -> None:
    result, out = run
    data = read_coco(coco.instances)
    other = score_answers(data, {"plain": ["A dog."] * 4, "mine": ["A cat."] * 4}, resamples=100)
    both = compare_runs([out, other, out], resamples=100)
    assert both.labels == (*result.labels, "plain (run 2)", "mine", "plain, cut to the mentions of mine")
    pairs = {(one.row, one.against) for one in both.comparisons}
    assert {("mine", "plain (run 2)"), ("plain (run 2)", "plain"), ("less", "plain")} <= pairs
    assert ("mine", "plain") not in pairs
    with pytest.raises(EvaluationError, match=r"run 2 \(planted\) with other items than run 1"):
        compare_runs([out, score_answers(dataset({"dog"}), {"plain": ["A dog."]}, resamples=100)])
    with pytest.raises(EvaluationError, match="1 runs; expected: two or more"):
        compare_runs([out])


def test_what_keeps_runs_from_being_compared_is_named() -> None:
    def scored(*present: set[str], ids: str = "", **source: Any) -> Evaluation:
        made = dataset(*present)
        items = [replace(item, id=f"{ids}{item.id}") for item in made.items]
        data = replace(made, items=tuple(items), source=source)
        return score_answers(data, {"plain": ["A dog."] * len(items)}, resamples=100)

    first = scored({"dog"}, {"cat"}, captions=None)
    told = r"the objects that count as present of 1 of 2 items differ, as of item '1'; read with captions='x' instead"
    with pytest.raises(EvaluationError, match=told):
        compare_runs([first, scored({"dog"}, {"cat", "cow"}, captions="x")])
    with pytest.raises(EvaluationError, match="0 of run 1's 2 and run 2's 2 ids are in both"):
        compare_runs([first, scored({"dog"}, {"cat"}, ids="other-")])
    with pytest.raises(EvaluationError, match="1 of run 1's 2 and run 2's 1 ids are in both"):
        compare_runs([first, scored({"dog"})])


def test_the_length_matched_control_agrees_with_its_twin() -> None:
    rng = np.random.default_rng(4)
    names = np.array(["dog", "cat", "cow", "car"])
    told = [rng.choice(names, rng.integers(0, 6)).tolist() for _ in range(60)]
    present = [set(rng.choice(names, 2).tolist()) for _ in range(60)]
    fewer = [rng.choice(names, rng.integers(0, 5)).tolist() for _ in range(60)]
    written = [["A " + " and a ".join(one) + "." if one else "Nothing." for one in each] for each in (told, fewer)]
    result = score_answers(dataset(*present), {"plain": written[0], "shorter": written[1]}, resamples=100)
    expected = first_mentions(told, present, [len(one) for one in fewer])
    found = result.scores["plain, cut to the mentions of shorter"]
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    beyond = result.difference("shorter", "plain, cut to the mentions of shorter")
    assert beyond.differences["chair_i"].value == pytest.approx(result.scores["shorter"]["chair_i"] - found["chair_i"])


def test_cutting_alone_is_no_effect() -> None:
    """An intervention that only stops earlier is better than plain, and no better than plain captions cut alike."""
    plain = ["A dog and a cat."] * 30
    result = score_answers(dataset(*[{"dog"}] * 30), {"plain": plain, "short": ["A dog."] * 30}, resamples=100)
    assert result.difference("short", "plain").differences["chair_i"].high < 0
    beyond = result.difference("short", "plain, cut to the mentions of short").differences
    assert (beyond["chair_i"].value, beyond["chair_i"].low, beyond["chair_i"].high) == (0, 0, 0)


def test_a_caption_is_cut_before_a_mention_that_cutting_uncovers() -> None:
    words = Vocabulary({"chair": ["seat"], "toilet": ["toilet"]}, unless={"seat": ["toilet"]})
    assert cut_to_mentions(["A seat by a toilet."], [0], words) == ["A"]
    assert cut_to_mentions(["A seat by a toilet."], [1], words) == ["A seat by a toilet."]
    with pytest.raises(EvaluationError, match="1 captions and 2 counts"):
        cut_to_mentions(["A seat."], [0, 1], words)


def test_yes_no_figures_agree_with_pope_and_mcnemar() -> None:
    labels = [True, False] * 6
    before, after = ["Yes."] * 12, ["Yes.", "No."] * 5 + ["Hm.", "Yes."]
    result = score_answers(questions(*labels), {"plain": before, "after": after}, resamples=100)
    for label, texts in (("plain", before), ("after", after)):
        expected = pope(texts, labels).summary()
        assert result.scores[label] == pytest.approx({name: expected[name] for name in result.scores[label]})
        assert result.row(label).counts["unclear"].sum() == expected["unclear"]
        assert result.row(label).counts["parsers_differ"].sum() == expected["parsers_differ"]
    found = result.difference("after", "plain")
    assert (found.made_right, found.made_wrong, found.p) == mcnemar(pope(before, labels), pope(after, labels))
    assert "yes rate" in markdown(result)
    assert "right / wrong, p" in markdown(result)


def test_questions_about_one_image_are_drawn_together() -> None:
    rng = np.random.default_rng(2)
    before, after = rng.integers(0, 2, (2, 40))
    groups = np.repeat(np.arange(10), 4)
    ones = np.ones(40)
    found = paired_differences({"x": (before, ones)}, {"x": (after, ones)}, groups, resamples=300, seed=5)["x"]
    gaps = []
    for counts in np.random.default_rng(5).multinomial(10, np.full(10, 0.1), size=300):
        picked = [
            n for image, times in enumerate(counts) for _ in range(times) for n in np.flatnonzero(groups == image)
        ]
        gaps.append(after[picked].mean() - before[picked].mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(gaps, [2.5, 97.5])))
    assert found.value == pytest.approx(after.mean() - before.mean())


def test_mme_and_amber_have_their_own_scores() -> None:
    asked = questions(True, False, True, False, metric="mme")
    found = score_answers(asked, {"plain": ["Yes", "No", "Yes", "Yes"]}, resamples=100).scores["plain"]
    assert found == pytest.approx({"acc": 0.75, "acc_plus": 0.5, "score": 125.0, "yes_rate": 0.75})
    described = Item(id="9", image=None, image_id="9", question="Describe.", objects=("dog",), expected=("cat",))
    items = (*questions(True, False).items, described)
    both = Dataset(name="amber", metric="amber", items=items, relations={"dog": ("puppy",), "cat": (), "cow": ()})
    result = score_answers(
        both, {"plain": ["Yes", "No", "A puppy and a cat."], "b": ["Yes", "No", "A dog."]}, resamples=100
    )
    plain = result.scores["plain"]
    assert (plain["chair"], plain["cover"], plain["hal"], plain["cog"]) == (0.5, 1.0, 1.0, 1.0)
    assert (plain["accuracy"], plain["f1"], plain["yes_rate"], plain["mentions"]) == (1.0, 1.0, 0.5, 2.0)
    beyond = result.difference("b", "plain, cut to the mentions of b")
    assert "accuracy" not in beyond.differences
    assert beyond.differences["chair"].value == 0
    assert result.difference("b", "plain").p == 1.0
    assert set(result.scores_by_kind()) == {"a", ""}


def test_own_questions_of_own_annotations(coco: CocoFiles, model: LoadedModel) -> None:
    asked = make_questions(read_coco(coco.instances, coco.images), "random", per_image=1)
    result = lv.evaluate(model, asked, prompt="{question}", resamples=100)
    assert result.metric == "pope"
    assert result.scores["plain"]["accuracy"] >= 0.5
    assert result.labels == ("plain",)
    with pytest.raises(EvaluationError, match=r"expected: a template with \{question\}"):
        lv.evaluate(model, asked, prompt="Is it?")


def test_what_cannot_be_evaluated_is_refused_before_the_model_runs(
    coco: CocoFiles, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("the model ran")

    monkeypatch.setattr("lvlmscope.evaluation.item_answers.timed_answers", fail)
    data = read_coco(coco.instances, coco.images)
    (tmp_path / "file").write_text("")
    (tmp_path / "scene.png").write_bytes(b"no image")
    (tmp_path / "table.jsonl").write_text('{"id": 1, "image": "scene.png", "objects": ["dog"]}\n')
    torn = read_table(tmp_path / "table.jsonl", tmp_path)
    with pytest.raises(EvaluationError, match="expected: a Dataset, or 'tiny-chair' or 'tiny-pope'"):
        lv.evaluate(model, str(coco.instances))
    with pytest.raises(EvaluationError, match=r"item 1000 of .* for the metric pope"):
        lv.evaluate(model, data, metric="pope")
    with pytest.raises(ModelInputError, match="metric='bleu'"):
        lv.evaluate(model, data, metric="bleu")  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="parser='loose'"):
        lv.evaluate(model, questions(True), parser="loose")  # type: ignore[arg-type]
    with pytest.raises(ImageInputError, match=r"table.jsonl, row 1: "):
        lv.evaluate(model, torn)
    with pytest.raises(ImageInputError, match=r"instances.json, image 1 without an image"):
        lv.evaluate(model, read_coco(coco.instances))
    with pytest.raises(OutputError, match="expected: a folder that can be written to"):
        lv.evaluate(model, data, out=tmp_path / "file")
    with pytest.raises(InterventionError, match="got SGRS"):
        lv.evaluate(model, data, lv.SGRS(proposal="sample"), placebo=True)
    with pytest.raises(EvaluationError, match="3 answers for 4 items"):
        score_answers(data, {"plain": ["A dog."] * 3})
    with pytest.raises(EvaluationError, match="no answers"):
        score_answers(data, {})


def test_interventions_are_labelled() -> None:
    found = labelled_stacks([lv.DLEAF(gamma=0.5), [lv.LocoRE(), lv.CLVA()]], reserved="plain")
    assert list(found) == ["DLEAF(gamma=0.5)", "LocoRE+CLVA"]
    assert list(labelled_stacks(lv.DLEAF(), reserved="plain")) == ["DLEAF"]
    assert list(labelled_stacks({"a": lv.DLEAF()}, reserved="plain")) == ["a"]
    assert labelled_stacks((), reserved="plain") == labelled_stacks(None, reserved="plain") == {}
    for wrong in ([lv.DLEAF(), lv.DLEAF()], {"plain": lv.DLEAF()}, [[]]):
        with pytest.raises(EvaluationError, match="under labels that differ"):
            labelled_stacks(wrong, reserved="plain")
    with pytest.raises(EvaluationError, match="placebo of DLEAF"):
        lv.evaluate(None, dataset({"dog"}), [lv.DLEAF(), lv.Placebo(intervention=lv.DLEAF())], placebo=True)
