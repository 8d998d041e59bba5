"""Interventions: one method a file, each a frozen dataclass that is its own configuration.

The folder lies at the top of the repository and is imported as `lvlmscope.interventions`.
"""

if not __name__.startswith("lvlmscope."):
    raise ImportError(
        f"Asked to import {__name__!r} as a package of its own; it is part of lvlmscope. "
        "Possible is `lvlmscope.interventions`: install the repository with `pip install -e .` and import that."
    )

from lvlmscope.interventions.adhh import ADHH
from lvlmscope.interventions.agla import AGLA
from lvlmscope.interventions.clva import CLVA
from lvlmscope.interventions.deco import DeCo
from lvlmscope.interventions.directions import Directions
from lvlmscope.interventions.dleaf import DLEAF
from lvlmscope.interventions.dola import DoLa
from lvlmscope.interventions.hallurnn import HalluRNN
from lvlmscope.interventions.head_rescaling import HeadRescaling
from lvlmscope.interventions.icd import ICD
from lvlmscope.interventions.locore import LocoRE
from lvlmscope.interventions.m3id import M3ID
from lvlmscope.interventions.opera import OPERA
from lvlmscope.interventions.pai import PAI
from lvlmscope.interventions.placebo import Placebo
from lvlmscope.interventions.registry import (
    intervention,
    list_interventions,
    load_interventions,
    save_interventions,
)
from lvlmscope.interventions.sgrs import SGRS
from lvlmscope.interventions.spin import SPIN
from lvlmscope.interventions.steering import Steering
from lvlmscope.interventions.vcd import VCD

__all__ = [
    "ADHH",
    "AGLA",
    "CLVA",
    "DLEAF",
    "ICD",
    "M3ID",
    "OPERA",
    "PAI",
    "SGRS",
    "SPIN",
    "VCD",
    "DeCo",
    "Directions",
    "DoLa",
    "HalluRNN",
    "HeadRescaling",
    "LocoRE",
    "Placebo",
    "Steering",
    "intervention",
    "list_interventions",
    "load_interventions",
    "save_interventions",
]
