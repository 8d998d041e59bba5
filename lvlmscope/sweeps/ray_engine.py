"""The Ray engine: Ray Data hands out the numbers of parts; each actor has one model and writes its parts itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lvlmscope.errors import MissingExtraError, UnsupportedOptionError, message
from lvlmscope.sweeps.engines import Job
from lvlmscope.verification.loading import load

__all__ = ["Workers", "require_resources", "run_on_ray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Actors of the Ray engine.

    Attributes:
        count: How many, each with a model.
        cpus: Of each.
        gpus: Of each.
    """

    count: int = 1
    cpus: float = 1.0
    gpus: float = 0.0


class _PartActor:
    """One model; runs the parts whose numbers it is given."""

    def __init__(self, job: Job, source: str, loading: Mapping[str, Any]) -> None:
        self.job = job
        self.model = load(source, check=False, **loading)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for number in batch["part"].tolist():
            self.job.run(self.model, int(number), lambda _: None)
        return batch


def run_on_ray(
    job: Job, source: str, loading: Mapping[str, Any], workers: Workers, progress: Callable[[int], Any]
) -> None:
    """Runs the missing parts on a Ray cluster, which sees the sweep's folder under the same path.

    Args:
        job: What is to be run.
        source: Name or folder of the model; each actor loads it.
        loading: Arguments of `load`.
        workers: Actors.
        progress: Called with the number of items that are finished.

    Raises:
        MissingExtraError: Ray is not installed.
        UnsupportedOptionError: The cluster has less than the actors and one reader need.
    """
    try:
        import ray
    except ImportError as error:
        got, fix = "no ray", "pip install 'lvlmscope[ray]'"
        raise MissingExtraError(message(got, "the ray extra", fix, task="sweep on Ray")) from error
    missing = job.sweep.missing
    if not missing:
        return
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    require_resources(ray.cluster_resources(), workers)  # type: ignore[no-untyped-call]
    numbers = ray.data.from_items([{"part": number} for number in missing], override_num_blocks=len(missing))
    done = numbers.map_batches(
        _PartActor,
        batch_size=1,
        concurrency=workers.count,
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
        fn_constructor_args=(job, source, dict(loading)),
    )
    for row in done.iter_rows():
        progress(len(job.parts[int(row["part"])]))


def require_resources(there: Mapping[str, float], workers: Workers) -> None:
    """Refuse what could never be scheduled: Ray would wait without an end.

    Args:
        there: The cluster's resources by kind.
        workers: Actors.

    Raises:
        UnsupportedOptionError: There is less than the actors and one reader need.
    """
    # Ray Data reads with tasks of one CPU each, which the actors must leave
    needed = {"CPU": workers.count * workers.cpus + 1, "GPU": workers.count * workers.gpus}
    for kind, amount in needed.items():
        if amount > there.get(kind, 0.0):
            reader = " and one for the reader" if kind == "CPU" else ""
            got = f"{workers.count} workers of {_amount_of(workers, kind):g} {kind}s{reader}: {amount:g} in all"
            expected = f"up to the cluster's {there.get(kind, 0.0):g}"
            fix = "take fewer workers or less for each"
            raise UnsupportedOptionError(message(got, expected, fix, task="sweep on Ray"))


def _amount_of(workers: Workers, kind: str) -> float:
    """What one worker takes of a kind, "CPU" or "GPU"."""
    return workers.cpus if kind == "CPU" else workers.gpus
