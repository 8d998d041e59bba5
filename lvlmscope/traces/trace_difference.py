"""The difference of two traces as labelled arrays."""

from typing import TYPE_CHECKING, Any, Final

from lvlmscope.errors import ModelInputError, ShapeError, describe, message, task

if TYPE_CHECKING:
    import xarray as xr

    from lvlmscope.traces.trace import Trace

__all__ = ["difference", "require_one_question"]


@task("subtract two traces")
def difference(before: "Trace", after: "Trace") -> "xr.Dataset":
    """``after - before``, over the steps up to the first token that differs, that one included.

    Args:
        after: A trace of the same prompt and images by a model of the same shape.

    Returns:
        Dataset with ``attention`` [step, layer, head, key], ``image_mass`` [step, layer, head], ``log_probs`` and
        ``entropy`` [step] (nats); the attribute ``first_difference`` is the first step whose token differs, or -1.

    Raises:
        ShapeError: Other layers, heads or prompt lengths.
        ModelInputError: Another prompt, or other images.
    """
    import xarray as xr

    shapes = [(t.layer_indices, t.num_heads, t.num_prompt_keys, t.kept_keys) for t in (before, after)]
    if shapes[0] != shapes[1]:
        got = describe({"before": before.attention, "after": after.attention})
        expected = "the same layers, heads, prompt length and kept keys"
        raise ShapeError(message(got, expected, "trace the same prompt with one model"))
    require_one_question(before, after)
    shared = min(before.num_steps, after.num_steps)
    changed = (before.answer_ids[:shared] != after.answer_ids[:shared]).nonzero().flatten()
    first = int(changed[0]) if len(changed) else -1
    steps = first + 1 if len(changed) else shared
    keys = before.num_prompt_keys + steps - 1
    one, other = before.attention[:steps, ..., :keys].float(), after.attention[:steps, ..., :keys].float()
    masses = [t.rows().image_mass[:steps] for t in (before, after)]
    axes = ("step", "layer", "head", "key")
    found = xr.Dataset(
        {
            "attention": (axes, (other - one).numpy()),
            "image_mass": (axes[:3], (masses[1] - masses[0]).numpy()),
            "log_probs": (axes[:1], (after.log_probs[:steps] - before.log_probs[:steps]).numpy()),
            "entropy": (axes[:1], (after.entropy[:steps] - before.entropy[:steps]).numpy()),
        },
        coords={
            "layer": list(before.layer_indices),
            "token": ("step", list(before.answer_tokens[:steps])),
            "other_token": ("step", list(after.answer_tokens[:steps])),
            "key_token": ("key", list(before.tokens[:keys])),
        },
        attrs={"first_difference": first, "long_name": "after - before"},
    )
    for name in ("attention", "image_mass"):
        found[name].attrs |= {"units": "1", "bounds": (-1.0, 1.0)}
    found["log_probs"].attrs |= {"units": "nats"}
    found["entropy"].attrs |= {"units": "nats"}
    return found


_OTHER_PROMPTS: Final = (
    "trace the same inputs; to show signals of different prompts beside each other, "
    "lv.plot.layers([signal(one), signal(other)], names=[...])"
)
_SHOWN = 8  # hexadecimal digits of a digest


def require_one_question(before: "Trace", after: "Trace") -> None:
    """Refuse two traces that are not of one prompt about the same images.

    Images are told apart by the digests in the traces' provenance. Where a trace has none (prepared inputs, files of
    earlier versions) the sizes and places of the image tokens are compared.

    Args:
        after: Another.

    Raises:
        ModelInputError: Other prompts, or other images, which are named.
    """
    if before.prompt_length != after.prompt_length or before.prompt != after.prompt:
        got = f"{before.prompt!r} ({before.prompt_length} tokens) and {after.prompt!r} ({after.prompt_length})"
        raise ModelInputError(message(got, "two traces of one prompt", _OTHER_PROMPTS))
    known = [trace.provenance.get("images", []) for trace in (before, after)]
    digests = [[image["sha256"] for image in each] for each in known]
    same = digests[0] == digests[1] if all(digests) else before.layout.images == after.layout.images
    if not same:
        described = [
            ", ".join(map(_told, each)) or _shape(trace) for each, trace in zip(known, (before, after), strict=True)
        ]
        got, expected = f"images that differ: {described[0]} and {described[1]}", "two traces of one image"
        raise ModelInputError(message(got, expected, "trace the same image"))


def _told(image: dict[str, Any]) -> str:
    name = f"{image['name']} " if image["name"] else ""
    return f"{name}({image['size'][0]} x {image['size'][1]} pixels, sha256 {image['sha256'][:_SHOWN]})"


def _shape(trace: "Trace") -> str:
    sizes = [f"{i.size[0]} x {i.size[1]} pixels" if i.size else f"{len(i.cells)} tokens" for i in trace.layout.images]
    return f"({', '.join(sizes) or 'none'})"
