"""The Ray engine on a local cluster of two workers: the same rows as in one process, and refusals."""

from pathlib import Path

import pytest
import ray

import lvlmscope as lv
from lvlmscope.errors import UnsupportedOptionError
from lvlmscope.evaluation import bundled_dataset
from lvlmscope.sweeps.ray_engine import Workers, require_resources


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        (
            Workers(count=2, cpus=0.9),
            r"2 workers of 0\.9 CPUs and one for the reader: 2\.8 in all; expected: up to",
        ),
        (Workers(count=1, cpus=1.0, gpus=1.0), r"1 workers of 1 GPUs: 1 in all; expected: up to the cluster's 0"),
    ],
)
def test_what_can_never_be_scheduled_is_refused(workers: Workers, words: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=words):
        require_resources({"CPU": 2.0}, workers)
    require_resources({"CPU": 3.0, "GPU": 1.0}, workers)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_two_workers_write_what_one_process_writes(tmp_path: Path) -> None:
    data = bundled_dataset("tiny-chair", n=4)
    options = {"part_size": 4, "batch_size": 4, "max_new_tokens": 8, "do_sample": True, "progress": False}
    local = lv.sweep(lv.load("tiny", check=False), data, tmp_path / "local", **options)
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        cluster = lv.sweep("tiny", data, tmp_path / "ray", engine="ray", workers=2, **options)
        again = lv.sweep("tiny", data, tmp_path / "ray", engine="ray", workers=2, **options)
    finally:
        ray.shutdown()
    assert cluster.finished
    assert again.missing == ()
    for name in ("words", "images", "errors"):
        one, other = getattr(local, name).to_table(), getattr(cluster, name).to_table()
        assert one.to_pandas().equals(other.to_pandas())
