"""A signal that is registered beside its function is read wherever signals are, and names are looked after."""

import pytest
import xarray as xr

from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation import aggregate, detection
from lvlmscope.evaluation.signal_registry import chosen_signals
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import SIGNALS, signal
from tests.support.labelled_traces import labels_of, made


def test_a_registered_signal_is_read_everywhere_and_gone_afterwards() -> None:
    traces = made(20)
    with SIGNALS.temporary():

        @signal(name="image_share", kind="attention", suspicious="low")
        def image_share(trace: Trace) -> xr.DataArray:
            return SIGNALS["image_attention_focus"].read(trace).mean("head")

        assert detection(traces, labels_of(traces), resamples=50)["image_share"].name == "image_share"
        assert aggregate(traces, "image_share", resamples=50)["mean"].sizes == {"layer": 3}
        with pytest.raises(EvaluationError, match="taken"):
            signal(name="Image_Share", kind="attention")(image_share)
    assert "image_share" not in SIGNALS


def test_an_unknown_name_gets_a_close_match() -> None:
    with pytest.raises(EvaluationError, match="did you mean 'entropy'"):
        chosen_signals(["entropi"], made(1)[0])
