"""Colours that every view shares; colour-blind readers tell them apart."""

from typing import Final

__all__ = ["DIVERGING", "GROUNDED", "HALLUCINATED", "OTHER", "SEQUENTIAL", "SEQUENTIAL_STOPS", "UNDEFINED"]

# Okabe and Ito's vermilion and bluish green differ in brightness too, and each comes with a mark of its own
GROUNDED: Final = "#009E73"
HALLUCINATED: Final = "#D55E00"
OTHER: Final = "#5B6470"
UNDEFINED: Final = "#C4C8CE"
SEQUENTIAL: Final = "viridis"  # amounts
DIVERGING: Final = "RdBu_r"  # differences, white at 0
# Seventeen evenly spaced colours of it, for what is drawn without a plotting library
SEQUENTIAL_STOPS: Final = (
    "#440154",
    "#48186a",
    "#472d7b",
    "#424086",
    "#3b528b",
    "#33638d",
    "#2c728e",
    "#26828e",
    "#21918c",
    "#1fa088",
    "#28ae80",
    "#3fbc73",
    "#5ec962",
    "#84d44b",
    "#addc30",
    "#d8e219",
    "#fde725",
)
