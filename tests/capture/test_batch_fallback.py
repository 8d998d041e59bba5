"""Which smaller batches follow one that failed."""

import pytest
import torch

from lvlmscope.capture.batch_fallback import Done, attempted, done_or_failed


def outcomes(limit: int, error: Exception, spoilt: str = "") -> tuple[list[str], list[list[str]]]:
    """Results of a to g where more than `limit` fail with `error`, and a batch with `spoilt` does; the batches run."""
    ran: list[list[str]] = []

    def run(some: object) -> list[str]:
        batch = list(some)  # type: ignore[call-overload]
        ran.append(batch)
        if len(batch) > limit:
            raise error
        if spoilt in batch:
            raise SyntaxError("broken")  # what PIL raises of some formats
        return [each.upper() for each in batch]

    found = done_or_failed("abcdefg", run)
    return [f"{one.result}{one.batch_size}" if isinstance(one, Done) else type(one).__name__ for one in found], ran


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no room"), MemoryError(), RuntimeError("can't allocate memory: 3 bytes")]
)
def test_without_memory_a_batch_is_halved(error: Exception) -> None:
    found, ran = outcomes(2, error)
    assert found == ["A2", "B2", "C2", "D2", "E2", "F2", "G1"]
    assert [len(each) for each in ran] == [7, 4, 2, 2, 3, 2, 1]


def test_another_error_runs_each_alone() -> None:
    found, ran = outcomes(7, MemoryError(), spoilt="c")
    assert found == ["A1", "B1", "SyntaxError", "D1", "E1", "F1", "G1"]
    assert [len(each) for each in ran] == [7] + [1] * 7


def test_one_sample_that_never_fits_keeps_its_error() -> None:
    assert outcomes(0, MemoryError())[0] == ["MemoryError"] * 7
    assert done_or_failed([], lambda _: []) == []


def test_a_users_interrupt_is_no_samples_error() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempted(interrupted)
