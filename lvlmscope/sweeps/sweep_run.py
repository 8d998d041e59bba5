"""`sweep`: a model's answers to a data set, reduced to signals, into a folder that a killed run can go on from."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from PIL import Image

from lvlmscope.capture.traced_batch import replay_prepared
from lvlmscope.errors import OutputError, UnsupportedOptionError, first_line, message, task
from lvlmscope.evaluation.datasets import Dataset
from lvlmscope.evaluation.datasets.bundled import require_dataset
from lvlmscope.evaluation.item_answers import refuse_turns
from lvlmscope.evaluation.item_counts import caption_vocabulary
from lvlmscope.evaluation.item_prompts import prompt_of
from lvlmscope.evaluation.run_folder import writable_folder
from lvlmscope.evaluation.sweep_tables import MANIFEST
from lvlmscope.evaluation.word_labels import labels_in
from lvlmscope.inputs.preparation import prepare
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.progress import bar
from lvlmscope.models.loaded_model import LoadedModel, family_for, find_processor, unwrap
from lvlmscope.runtime.attachment import stack_of
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.sweeps.engines import Job, run_share
from lvlmscope.sweeps.folder import Sweep, load_sweep, open_folder, withdraw
from lvlmscope.sweeps.part_tables import Columns
from lvlmscope.sweeps.ray_engine import Workers, run_on_ray
from lvlmscope.sweeps.run_signature import signature_of
from lvlmscope.sweeps.settings import SweepSettings, parts_of
from lvlmscope.sweeps.writer_lock import Share, only_writer
from lvlmscope.traces.array_attributes import bounds_of
from lvlmscope.traces.word_values import Tokens
from lvlmscope.verification.loading import load

__all__ = ["sweep"]

Engine = Literal["local", "ray"]
AtLeastOne = Annotated[int, Range(ge=1)]
PartSize = Annotated[int, Range(ge=4, le=64)]


@checked
@task("sweep a data set")
def sweep(
    model: Any,
    dataset: Dataset | str,
    out: str | os.PathLike[str],
    *,
    signals: Sequence[str] | None = None,
    interventions: Sequence[Intervention] | Intervention = (),
    gradients: bool = False,
    hidden_states: bool = False,
    tokens: Tokens = "first",
    prompt: str | None = None,
    batch_size: AtLeastOne = 8,
    part_size: PartSize = 16,
    max_new_tokens: AtLeastOne | None = None,
    max_memory: int | str | None = None,
    seed: Annotated[int, Range(ge=0)] = 0,
    engine: Engine = "local",
    workers: AtLeastOne = 1,
    worker_cpus: Annotated[float, Range(gt=0)] = 1.0,
    worker_gpus: Annotated[float, Range(ge=0)] = 0.0,
    loading: Mapping[str, Any] | None = None,
    progress: bool = True,
    **generation: Any,
) -> Sweep:
    """The signals of every word of a model's answers to a data set, as Parquet.

    `words/` has one row for each word with its signals as lists over layers, `images/` one for each image, `errors/`
    one for each item that could not be opened or answered. Items are swept in parts that are always made of the same
    ones; a part is written whole, so that the same call goes on where a killed one ended, and nothing is done twice.
    Under `torchrun` or `accelerate launch` each rank runs its share of the parts. An item's sampling noise follows from
    `seed` and its id alone.

    Args:
        model: What `load` gave, or a name or folder to load.
        dataset: What a reader of `lvlmscope.evaluation.datasets` gave, or `"tiny-chair"` or `"tiny-pope"`.
        out: The folder; of an earlier run with the same model, data, signals and options to go on with it.
        signals: Names that `lvlmscope signals` lists; None for all that `gradients` and `hidden_states` allow.
        interventions: Act together; sweep each setting into a folder of its own.
        gradients: Also signals that need gradients, when `signals` is None.
        hidden_states: Also signals that need hidden states, when `signals` is None.
        tokens: Signals at the `"first"` token of a word, which decided on it, or the `"mean"` over its tokens.
        prompt: As for `evaluate`.
        batch_size: Items in one `generate`; a batch that does not fit into memory is halved.
        part_size: Items of one part, 4 to 64.
        max_new_tokens: Length allowed to each answer; the data set's own when None.
        max_memory: As for `trace`, for a batch.
        seed: Of sampling.
        engine: `"local"`, or `"ray"` for a Ray cluster; `model` is then a name or folder.
        workers: Ray actors, each with a model.
        worker_cpus: CPUs of each.
        worker_gpus: GPUs of each.
        loading: Arguments of `load` for a model given by name, such as `{"dtype": "bfloat16"}`. Without a `device_map`
            the GPU of the local rank is taken, where there is one.
        progress: Show a bar with rate and time left.
        **generation: Any keyword of `generate`; answers are greedy without `do_sample=True`.

    Returns:
        The folder's sweep. Under several ranks other parts may not be finished yet.

    Raises:
        EvaluationError: No data set, a signal that cannot be read, or a folder that was made with something else.
        OutputError: The folder cannot be written to, the disk is full, or another process writes into it.
        UnsupportedOptionError: A Ray cluster that is too small, or a model in memory for it.
        ModelInputError: An option of another type, out of range, or not among the choices.
    """
    data = require_dataset(dataset)
    refuse_turns(data, "a sweep")
    length = data.max_new_tokens if max_new_tokens is None else max_new_tokens
    settings = SweepSettings(
        signals=None if signals is None else tuple(signals),
        interventions=stack_of(interventions),
        gradients=gradients,
        hidden_states=hidden_states,
        tokens=tokens,
        prompt=prompt,
        batch_size=batch_size,
        part_size=part_size,
        seed=seed,
        max_memory=max_memory,
        generation={"do_sample": False, **generation, "max_new_tokens": length},
    )
    if engine == "ray" and not isinstance(model, str):
        got, expected = f"{type(model).__name__} for engine='ray'", "a name or folder, which every worker loads"
        raise UnsupportedOptionError(message(got, expected, "pass the model's name"))
    share = Share() if engine == "ray" else Share.of_environment()
    options = dict(loading or {})
    parts = parts_of(data, part_size)
    with writable_folder(out) as folder, only_writer(folder, share), _withdrawn_without_parts(folder, share):
        loaded = _loaded(model, options if engine == "ray" else _on_own_gpu(options))
        columns = _columns(loaded, data, settings)
        facts = {
            "parts": len(parts),
            "items": len(data),
            "layers": list(columns.layers),
            "signals": dict(columns.signals),
            "about": dict(columns.about),
            "settings": {"tokens": tokens, "batch_size": batch_size, "max_new_tokens": length, "prompt": prompt},
        }
        begun = _begun(folder, signature_of(loaded, data, settings, columns.signals), facts)
        job = Job(sweep=begun, parts=parts, settings=settings, columns=columns)
        with _shown(job, share, progress) as advance:
            if engine == "ray":
                count = Workers(count=workers, cpus=worker_cpus, gpus=worker_gpus)
                run_on_ray(job, model, options, count, advance)
            else:
                run_share(job, loaded, share, advance)
    return load_sweep(folder)


@contextmanager
def _withdrawn_without_parts(folder: Path, share: Share) -> Iterator[None]:
    """A sweep that fails before its first part is whole leaves nothing; ranks do not know of each other's parts."""
    there = (folder / MANIFEST).exists()
    try:
        yield
    except BaseException:
        if share.world == 1 and not there:
            withdraw(folder)
        raise


def _begun(folder: Any, signature: Mapping[str, Any], facts: Mapping[str, Any]) -> Sweep:
    try:
        return open_folder(folder, signature, facts)
    except OSError as error:
        got = error.strerror or first_line(error)
        raise OutputError(message(got, "a folder that can be written to", "choose another folder")) from error


def _loaded(model: Any, options: dict[str, Any]) -> LoadedModel:
    if isinstance(model, str):
        return load(model, **options)
    if isinstance(model, LoadedModel):
        return model
    bare: Any = unwrap(model)
    name = str(getattr(bare, "name_or_path", "") or type(bare).__name__)
    return LoadedModel(model=model, processor=find_processor(model), name=name, family=family_for(model))


def _on_own_gpu(options: dict[str, Any]) -> dict[str, Any]:
    rank = os.environ.get("LOCAL_RANK")
    if rank is None or "device_map" in options or not torch.cuda.is_available():
        return options
    return options | {"device_map": f"cuda:{rank}"}


def _columns(model: LoadedModel, data: Dataset, settings: SweepSettings) -> Columns:
    """Signals and layers as a grey image shows them; what no item could escape is raised here."""
    vocabulary = caption_vocabulary(data) if data.vocabulary is not None or data.relations else None
    if vocabulary is not None:
        for item in data.items:
            if item.objects is not None:
                labels_in((), item.objects, vocabulary)
    grey = Image.new("RGB", (224, 224), (127, 127, 127))
    prepared = prepare(grey, prompt_of(data.items[0], settings.prompt), model.processor, model.family)
    generation = {**settings.generation, "max_new_tokens": 1}
    unlimited = replace(settings, max_memory=None).trace_options()
    (found,) = replay_prepared(model, model.family, prepared, unlimited, generation=generation, seed=[0]).signals()
    layered = {name: values.ndim == 2 for name, values in found.values.items()}
    about = {name: _described(attrs) for name, attrs in found.about.items()}
    return Columns(signals=layered, layers=found.layers, tokens=settings.tokens, vocabulary=vocabulary, about=about)


def _described(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """A signal's name, unit, bounds and reference as JSON values: a bound that does not exist is null."""
    bounds = [one if math.isfinite(one) else None for one in bounds_of(attrs)]
    return {name: attrs[name] for name in ("long_name", "units", "reference") if name in attrs} | {"bounds": bounds}


@contextmanager
def _shown(job: Job, share: Share, progress: bool) -> Iterator[Any]:
    """A bar over this process's items, from those of whole parts on; the first rank's stands for all."""
    own = [number for number in range(len(job.parts)) if share.holds(number)]
    left = sum(len(job.parts[number]) for number in job.sweep.missing if share.holds(number))
    total = sum(len(job.parts[number]) for number in own)
    shown = progress and share.rank == 0
    with bar(total=total, initial=total - left, desc="sweep", unit="item", shown=shown) as drawn:
        yield drawn.update
