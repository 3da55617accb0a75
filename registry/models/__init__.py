"""The system of record as SQLAlchemy tables."""

from registry.models.base import Base
from registry.models.calculation import Calculation, Level
from registry.models.campaign import Campaign, Funnel, Round, Selection, Validation
from registry.models.hull import HullEvent, HullState
from registry.models.material import (
    Composition,
    Duplicate,
    ExternalId,
    Import,
    Lineage,
    Prototype,
    Source,
    Structure,
)
from registry.models.prediction import Model, ModelFile, Prediction, TrainingSet
from registry.models.work import Work, Worker

__all__ = [
    "Base",
    "Calculation",
    "Campaign",
    "Composition",
    "Duplicate",
    "ExternalId",
    "Funnel",
    "HullEvent",
    "HullState",
    "Import",
    "Level",
    "Lineage",
    "Model",
    "ModelFile",
    "Prediction",
    "Prototype",
    "Round",
    "Selection",
    "Source",
    "Structure",
    "TrainingSet",
    "Validation",
    "Work",
    "Worker",
]
