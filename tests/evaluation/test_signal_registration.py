"""A signal that is registered beside its function is read wherever signals are, and names are looked after."""

import json
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import lvlmscope as lv
from lvlmscope.cli.commands.signals import run_signals
from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation.signal_registry import chosen_signals
from lvlmscope.explorer.document import describe_document, with_parts
from lvlmscope.tiny import scenes
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import SIGNALS
from tests.support.fake_distributions import installed
from tests.support.labelled_traces import labels_of, made

PACKAGE = '''
import lvlmscope as lv


@lv.signal(name="{name}", kind="attention", suspicious="low")
def shared(trace):
    """Image attention of the first head."""
    return lv.image_attention_focus(trace).isel(head=0, drop=True)
'''


def register() -> None:
    @lv.signal(name="image_share", kind="attention", suspicious="low")
    def image_share(trace: Trace) -> xr.DataArray:
        """Image attention, averaged over heads.

        More about it.
        """
        return lv.image_attention_focus(trace).mean("head")


def test_one_function_is_found_by_everything_that_reads_signals(capsys: pytest.CaptureFixture[str]) -> None:
    traces = made(20)
    with SIGNALS.temporary():
        register()
        assert lv.score_signals(traces, labels_of(traces), resamples=50)["image_share"].name == "image_share"
        by_layer = lv.aggregate(traces, "image_share", resamples=50)["mean"]
        xr.testing.assert_allclose(by_layer, lv.aggregate(traces, "image_attention_focus", resamples=50)["mean"])
        document = with_parts(describe_document(traces[0], diagnosis=False))
        shown = next(each for each in document["signals"] if each["id"] == "image_share")
        assert (shown["name"], shown["unit"]) == ("image share", "share of 1")
        assert shown["meaning"] == "Image attention, averaged over heads."
        focus = lv.image_attention_focus(traces[0]).mean(("layer", "head")).values
        assert document["sides"][0]["values"]["image_share"] == pytest.approx(focus.tolist())
        risks = lv.diagnose(traces[0])
        run_signals(as_json=True)
        assert next(each for each in json.loads(capsys.readouterr().out) if each["name"] == "image_share") == {
            "name": "image_share",
            "kind": "attention",
            "suspicious": "low",
            "needs": [],
            "stepwise": False,
            "description": "Image attention, averaged over heads.",
        }
    assert "image_share" not in SIGNALS
    assert risks.words
    with pytest.raises(EvaluationError, match="'image_share'"):
        lv.aggregate(traces, "image_share")


def test_a_calibration_holds_it_and_a_diagnosis_reads_it() -> None:
    model, read = lv.load("tiny"), []
    examples = [(one.image, one.present) for one in [*scenes("prior", n=7), *scenes("neutral", n=10)]]
    with SIGNALS.temporary():

        @lv.signal(name="early_share", kind="attention", suspicious="low")
        def early_share(trace: Trace) -> xr.DataArray:
            read.append(trace)
            return lv.image_attention_focus(trace).mean("head").isel(layer=[0])

        found = lv.calibrate(model, examples, max_new_tokens=12, lens=False, progress=False)
        assert found.references["early_share"].layers == (0,)
        trace = lv.trace(model, examples[0][0], "Describe the image.", max_new_tokens=8, progress=False)
        read.clear()
        lv.diagnose(trace, found)
        assert read == [trace]


def test_one_function_stands_for_several_signals() -> None:
    trace = made(1)[0]
    with SIGNALS.temporary():
        lv.signal(name="margin_again", kind="confidence", part={"measure": "margin"})(lv.confidence)
        lv.signal(name="flat_entropy", kind="attention", options={"normalise": True})(lv.layer_image_entropy)
        values = {each.name: each.read(trace) for each in lv.list_signals() if not each.lacking(trace, None)}
    assert values["margin_again"].dims == ("step",)
    assert values["margin_again"].values.tolist() == trace.margin.tolist()
    xr.testing.assert_equal(values["flat_entropy"], lv.layer_image_entropy(trace, normalise=True))
    assert values["entropy"].values.tolist() == trace.entropy.tolist()


def test_a_function_of_several_signals_is_computed_once_a_trace() -> None:
    computed: list[Trace] = []

    def both(trace: Trace) -> xr.DataArray:
        computed.append(trace)
        return lv.confidence(trace)

    traces = made(20)
    with SIGNALS.temporary():
        for part in ("margin", "entropy"):
            lv.signal(name=f"{part}_again", kind="confidence", suspicious="low", part={"measure": part})(both)
        describe_document(traces[0], diagnosis=False)
        assert computed == traces[:1]
        lv.diagnose(traces[1])
        assert computed == traces[:2]
        lv.score_signals(traces, labels_of(traces), signals=["margin_again", "entropy_again"], resamples=20)
        assert computed == [*traces[:2], *traces]


def test_an_entry_point_brings_the_signals_of_another_package(tmp_path: Path) -> None:
    source = PACKAGE.format(name="first_head")
    points = {SIGNALS.group: {"mine": "signals_of_mine"}}
    with SIGNALS.temporary(), installed(tmp_path, "signals_of_mine", source, points):
        assert lv.list_signals()[0].kind == "baseline"
        assert "first_head" in [each.name for each in lv.list_signals()]
        assert lv.aggregate(made(3), "first_head", resamples=10)["mean"].sizes == {"layer": 3}
    assert "first_head" not in SIGNALS


@pytest.mark.parametrize(
    ("point", "name", "text"),
    [
        (
            "no_such_module",
            "first_head",
            "load the signal 'mine': got no_such_module: No module named 'no_such_module'",
        ),
        ("signals_of_mine:nothing", "first_head", "load the signal 'mine': got signals_of_mine:nothing"),
        ("signals_of_mine", "Entropy", "register the signal 'Entropy': got a name that is taken"),
    ],
)
def test_a_broken_entry_point_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], point: str, name: str, text: str
) -> None:
    before, trace = [each.name for each in lv.list_signals()], made(1)[0]
    points = {SIGNALS.group: {"mine": point}}
    with SIGNALS.temporary(), installed(tmp_path, "signals_of_mine", PACKAGE.format(name=name), points):
        with pytest.warns(UserWarning, match=f"left out: {text}"):
            assert [each.name for each in lv.list_signals()] == before
        assert lv.aggregate([trace], "margin", by=())["mean"].notnull()
        assert chosen_signals(None, trace)[1][-1] == "mine (an entry point that cannot be loaded)"
        with pytest.raises(EvaluationError, match=rf"got 'first'; .*Left out, as it cannot be loaded: {text}"):
            lv.aggregate([trace], "first")
        run_signals(as_json=False)
        assert f"mine  not usable: {text}" in capsys.readouterr().out
        run_signals(as_json=True)
        assert json.loads(capsys.readouterr().out)[-1]["error"].startswith(text)
    assert not SIGNALS.broken


def test_an_entry_point_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    source = PACKAGE.format(name="first_head") + "\n\nraise RuntimeError('no disk')\n"
    points = {SIGNALS.group: {"mine": "signals_of_mine"}}
    with SIGNALS.temporary(), installed(tmp_path, "signals_of_mine", source, points):
        with pytest.warns(UserWarning, match="got signals_of_mine: RuntimeError: no disk; .*uninstall signals_of_mine"):
            assert "first_head" not in SIGNALS
        assert list(SIGNALS.broken) == ["mine"]


def test_names_are_found_in_any_letter_case_and_a_wrong_one_gets_a_close_match() -> None:
    trace = made(1)[0]
    assert [each.name for each in chosen_signals(["Entropy", "LOG_PROB"], trace)[0]] == ["log_prob", "entropy"]
    with pytest.raises(EvaluationError, match=r"got 'entropi'; .*did you mean 'entropy'"):
        chosen_signals(["entropi"], trace)
    with pytest.raises(EvaluationError, match=r"look a signal up: got 'margins'.*did you mean 'margin'"):
        lv.aggregate([trace], "margins")
    with pytest.raises(EvaluationError, match="got the text 'entropy'; expected: a list of names"):
        chosen_signals("entropy", trace)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "x", "kind": "attentive"}, "register the signal 'x': got kind='attentive'; expected: 'baseline'"),
        ({"name": "x", "kind": "attention", "suspicious": "up"}, "got suspicious='up'"),
        ({"name": "x", "kind": "attention", "needs": ("gradients",)}, "got needs='gradients'; expected: 'gradient'"),
        ({"name": "ENTROPY", "kind": "confidence"}, "register the signal 'ENTROPY': got a name that is taken"),
    ],
)
def test_a_wrong_registration_is_refused(options: dict[str, Any], text: str) -> None:
    lv.list_signals()
    with SIGNALS.temporary(), pytest.raises(EvaluationError, match=text):
        lv.signal(**options)(lv.confidence)
