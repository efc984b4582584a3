"""Base models: their shapes, where they lie, and what trains well on them."""

from prolora.base_models.catalogue import CATALOGUE, DEMO, PAPER, SMALL, STUDIO, BaseModel, TrainingDefaults
from prolora.base_models.folder import check_folder, find, trainable
from prolora.base_models.shapes import Linear, Shapes

__all__ = [
    "CATALOGUE",
    "DEMO",
    "PAPER",
    "SMALL",
    "STUDIO",
    "BaseModel",
    "Linear",
    "Shapes",
    "TrainingDefaults",
    "check_folder",
    "find",
    "trainable",
]
