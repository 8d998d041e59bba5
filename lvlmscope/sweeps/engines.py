"""The local engine: this process, or its share of the parts among the ranks of a launch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lvlmscope.evaluation.datasets.items import Item
from lvlmscope.evaluation.sweep_tables import has_part
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.sweeps.folder import Sweep
from lvlmscope.sweeps.part_files import write_part
from lvlmscope.sweeps.part_run import run_part
from lvlmscope.sweeps.part_tables import Columns
from lvlmscope.sweeps.settings import SweepSettings
from lvlmscope.sweeps.writer_lock import Share

__all__ = ["Job", "run_share"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """All that a process needs beside the model.

    Attributes:
        sweep: The folder.
        parts: Items of each part.
        settings: What is done.
        columns: Columns of the words.
    """

    sweep: Sweep
    parts: list[tuple[Item, ...]]
    settings: SweepSettings
    columns: Columns

    def run(self, model: LoadedModel, number: int, progress: Callable[[int], Any]) -> None:
        """Runs and writes one part, unless it is whole already.

        Args:
            number: Of the part.
            progress: Called with the number of items that are finished.

        Raises:
            LvlmscopeError: As for `run_part` and `write_part`.
        """
        if has_part(self.sweep.folder, number):
            return
        results = run_part(model, self.parts[number], self.settings, progress)
        write_part(self.sweep.folder, number, results, self.columns)


def run_share(job: Job, model: LoadedModel, share: Share, progress: Callable[[int], Any]) -> None:
    """Runs the missing parts of a share, in order.

    Args:
        job: What is to be run.
        share: Which parts are this process's.
        progress: Called with the number of items that are finished.
    """
    for number in job.sweep.missing:
        if share.holds(number):
            job.run(model, number, progress)
