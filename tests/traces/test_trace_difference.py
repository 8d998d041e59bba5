"""`after - before`, with its sign, its steps and its labels; and every tensor of a trace under its axes."""

from dataclasses import replace

import numpy as np
import torch

from lvlmscope.traces.trace import Trace
from tests.support.random_traces import random_trace
from tests.support.varied_traces import varied_trace


def pair() -> tuple[Trace, Trace]:
    """Two answers that part at the third of four tokens, the second one token longer."""
    before = varied_trace(seed=1, steps=4)
    after = varied_trace(seed=2, steps=5)
    words = ("a", " b", " x", " y", " z")
    ids = torch.tensor([*before.answer_ids[:2].tolist(), 90, 91, 92])
    return before, replace(
        after,
        answer_ids=ids,
        answer_tokens=words,
        answer="".join(words),
        tokens=(*after.tokens[: after.num_prompt_keys], *words[:-1]),
        log_probs=torch.linspace(-0.3, -1.1, 5),
        entropy=torch.linspace(0.9, 0.4, 5),
    )


def test_a_difference_is_what_the_second_has_more() -> None:
    before, after = pair()
    found = before.diff(after)
    keys = before.num_prompt_keys + 2
    assert found.attrs["first_difference"] == 2
    assert found["attention"].shape == (3, before.num_layers, before.num_heads, keys)
    more = after.attention[:3, ..., :keys] - before.attention[:3, ..., :keys]
    np.testing.assert_allclose(found["attention"], more, atol=1e-7)
    image = before.image_keys[:keys]
    np.testing.assert_allclose(found["image_mass"], more[..., image].sum(-1), atol=1e-6)
    np.testing.assert_allclose(found["log_probs"], after.log_probs[:3] - before.log_probs[:3], atol=1e-7)
    np.testing.assert_allclose(found["entropy"], after.entropy[:3] - before.entropy[:3], atol=1e-7)
    back = after.diff(before)
    for name in ("attention", "image_mass", "log_probs", "entropy"):
        assert float(abs(found[name]).max()) > 0.01
        np.testing.assert_allclose(back[name], -found[name], atol=1e-7)


def test_steps_and_keys_have_the_words_of_their_own_side() -> None:
    before, after = pair()
    found = before.diff(after)
    assert found["token"].values.tolist() == list(before.answer_tokens[:3])
    assert found["other_token"].values.tolist() == ["a", " b", " x"]
    assert found["key_token"].values.tolist() == list(before.tokens[: before.num_prompt_keys + 2])
    assert found["layer"].values.tolist() == list(before.layer_indices)


def test_answers_of_which_one_begins_with_the_other_differ_over_the_shorter() -> None:
    before, after = pair()
    longer = replace(after, answer_ids=torch.tensor([*before.answer_ids.tolist(), 99]))
    for one, other in ((before, longer), (longer, before)):
        found = one.diff(other)
        assert found.attrs["first_difference"] == -1
        assert found.sizes["step"] == 4
        assert found.sizes["key"] == before.num_prompt_keys + 3


def test_a_dataset_holds_every_tensor_under_its_own_axes() -> None:
    trace = random_trace(0, steps=3, layers=4, heads=5)
    trace = replace(
        trace,
        layer_indices=(1, 3, 4, 6),
        log_probs=torch.tensor([-0.1, -0.2, -0.3]),
        entropy=torch.tensor([0.4, 0.5, 0.6]),
        margin=torch.tensor([0.7, 0.8, 0.9]),
        top_ids=torch.arange(15).view(3, 5),
        top_log_probs=-torch.arange(15.0).view(3, 5),
        mixed_log_probs=torch.tensor([-1.1, -1.2, -1.3]),
        mixed_top_ids=torch.arange(20, 35).view(3, 5),
        mixed_top_log_probs=-torch.arange(20.0, 35.0).view(3, 5),
    )
    found = trace.to_xarray()
    axes = {1: ("step",), 2: ("step", "rank"), 3: ("step", "layer", "head"), 4: ("step", "layer", "head", "key")}
    assert set(found.data_vars) == {
        *("attention", "gradient", "hidden_states", "image_scores", "log_probs", "entropy", "margin", "answer_ids"),
        *("image_keys", "top_ids", "top_log_probs", "mixed_log_probs", "mixed_top_ids", "mixed_top_log_probs"),
    }
    for name, array in found.data_vars.items():
        np.testing.assert_array_equal(array, getattr(trace, str(name)))
        own = {"hidden_states": ("step", "depth", "hidden"), "image_keys": ("key",)}
        assert array.dims == own.get(str(name), axes[array.ndim])
    assert found["layer"].values.tolist() == [1, 3, 4, 6]
    assert found["key_kind"].values.tolist() == list(trace.layout.kinds)
    assert found["key_token"].values.tolist() == list(trace.tokens)
    assert found["token"].values.tolist() == list(trace.answer_tokens)
    assert (found["entropy"].attrs["units"], found["attention"].attrs["units"]) == ("nats", "1")
