"""Load a model with its processor, then check it once."""

from typing import Any

from lvlmscope.interface.parameter_checks import checked
from lvlmscope.models.loaded_model import LoadedModel, read_model
from lvlmscope.verification.check_cache import check_once

__all__ = ["load"]


@checked
def load(
    source: Any,
    *,
    processor: Any = None,
    check: bool = True,
    device_map: Any = None,
    dtype: Any = "auto",
    **options: Any,
) -> LoadedModel:
    """Load a vision-language model with its processor, and check once that its rows can be trusted.

    Args:
        source: "tiny" for the bundled model, a hub id, a folder, or a pair (model, processor).
        processor: Processor, or its name, when it is not beside the model.
        check: Run ``lvlmscope.check``, unless this revision of the model has passed before with these versions of
            lvlmscope, torch and transformers. False skips it.
        device_map: Passed to ``from_pretrained``; None keeps the model on the CPU.
        dtype: Passed to ``from_pretrained``; the bundled model is float32 whatever its file holds.
        **options: More options of ``from_pretrained``, such as ``revision`` or ``attn_implementation``. Remote code is
            run only with ``trust_remote_code=True``.

    Returns:
        The loaded model, in eval mode.

    Raises:
        UnsupportedModelError: Nothing of that name, a text-only model, no processor, or a failed check.
        UnsupportedOptionError: A dtype that torch does not have, or an option that nothing takes.
        ReplayError: The check's replay disagrees with its generation.
    """
    loaded, path = read_model(source, processor=processor, device_map=device_map, dtype=dtype, **options)
    if check and loaded.processor is not None:
        check_once(loaded, path)
    return loaded
