"""Sweeps: the signals of any number of images into a folder of Parquet files, on one machine or many, resumable."""

from lvlmscope.sweeps.folder import Sweep, load_sweep
from lvlmscope.sweeps.image_folder import read_image_folder
from lvlmscope.sweeps.sweep_run import sweep

__all__ = ["Sweep", "load_sweep", "read_image_folder", "sweep"]
