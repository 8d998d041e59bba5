"""The bundled model and its world: a small LLaVA trained on composed scenes, which hallucinates as large ones do."""

from lvlmscope.tiny.bundled_files import path
from lvlmscope.tiny.composed_scenes import Scene, Split, scene, scenes
from lvlmscope.tiny.world import CATEGORIES, PARTNER, SYNONYMS

__all__ = ["CATEGORIES", "PARTNER", "SYNONYMS", "Scene", "Split", "path", "scene", "scenes"]
