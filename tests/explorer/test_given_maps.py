"""Maps computed beside a trace: what a page gets of them, and what is refused."""

import base64
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lvlmscope import Trace
from lvlmscope.errors import ModelInputError, ShapeError
from lvlmscope.explorer.document import describe_document
from tests.support.varied_traces import varied_trace


def by_parts(**changes: Any) -> xr.DataArray:
    """As `occlusion` gives them, for the words of steps 1 and 3."""
    values = np.arange(2 * 2 * 3, dtype=np.float32).reshape(2, 2, 3) - 4
    coords = {"word": ["word1", "word3"], "first_step": ("word", [1, 3])}
    attrs = {"long_name": "lost when covered", "units": "nats", "image_index": 0}
    return xr.DataArray(values, dims=("word", "row", "column"), coords=coords, name="occlusion", attrs=attrs | changes)


def by_key(trace: Trace) -> xr.DataArray:
    keys = trace.image_keys.nonzero().flatten().numpy()
    values = np.linspace(-1, 1, len(keys))[None].repeat(trace.num_steps, 0)
    coords = {"key": keys, "first_step": ("word", np.arange(trace.num_steps))}
    return xr.DataArray(
        values, dims=("word", "key"), coords=coords, name="integrated_gradients", attrs={"units": "nats"}
    )


def test_values_come_unrounded_with_boxes_over_the_whole_image() -> None:
    trace = varied_trace()
    *_, occluded, integrated = describe_document(trace, maps=[by_parts(), by_key(trace)]).values["sides"][0][
        "quantities"
    ]
    assert (occluded["label"], occluded["unit"], occluded["rows"]) == ("occlusion", "nats", {"1": 0, "3": 1})
    values = np.frombuffer(base64.b64decode(occluded["data"]), "<f4").reshape(2, 6)
    assert values.tolist() == by_parts().values.reshape(2, 6).tolist()
    (panel,) = occluded["panels"]
    assert (panel["size"], panel["image_panel"]) == ([56.0, 56.0], 0)
    assert panel["boxes"][4] == [18.67, 28.0, 37.33, 56.0]  # second row, second of three columns
    assert integrated["panels"] is None
    assert integrated["columns"] == 16


def test_maps_are_the_first_traces_or_of_each_by_a_function() -> None:
    trace, other = varied_trace(), varied_trace(seed=1)
    sides = describe_document(trace, other, maps=[by_key(trace)]).values["sides"]
    assert [len(side["quantities"]) for side in sides] == [2, 1]
    sides = describe_document(trace, other, maps=lambda each: [by_key(each)]).values["sides"]
    assert [len(side["quantities"]) for side in sides] == [2, 2]


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        (lambda _: [by_parts().rename(row="layer")], ShapeError, "dims word and key, or word, row and column"),
        (lambda trace: [by_key(trace).isel(key=slice(3))], ShapeError, "the trace's 16 image keys in order"),
        (lambda _: [by_parts().drop_vars("first_step")], ModelInputError, "without the coordinate first_step"),
        (lambda trace: [by_key(trace).assign_coords(first_step=("word", [9, 10, 11, 12]))], ModelInputError, "steps"),
        (lambda _: [np.zeros((2, 2))], ModelInputError, "expected: arrays with dims word and key"),
        (lambda trace: by_key(trace).values.tolist(), ModelInputError, "expected: arrays with dims word and key"),
    ],
)
def test_other_arrays_are_refused(given: Any, error: type[Exception], told: str) -> None:
    trace = varied_trace()
    with pytest.raises(error, match=told):
        describe_document(trace, maps=given(trace))
