"""Colours that every view shares; colour-blind readers tell them apart."""

from typing import Final

__all__ = ["DIVERGING", "MADE_UP", "OTHER", "SEQUENTIAL", "TRUE", "UNDEFINED"]

# Okabe and Ito's vermilion and bluish green differ in brightness too, and each comes with a mark of its own
TRUE: Final = "#009E73"
MADE_UP: Final = "#D55E00"
OTHER: Final = "#5B6470"
UNDEFINED: Final = "#C4C8CE"
SEQUENTIAL: Final = "viridis"  # amounts
DIVERGING: Final = "RdBu_r"  # differences, white at 0
