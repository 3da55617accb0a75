"""The system of record as SQLAlchemy tables."""

from registry.models.base import Base
from registry.models.calculation import Calculation, Frame, Level, ReferenceSet
from registry.models.campaign import Campaign, Funnel, Round, Search, Selection, Validation
from registry.models.hull import HullEvent, HullState, Placement, Unplaced
from registry.models.level_bridge import LevelBridge
from registry.models.material import (
    Composition,
    Duplicate,
    ExternalId,
    Family,
    FamilyMember,
    Import,
    Lineage,
    Property,
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
    "Family",
    "FamilyMember",
    "Frame",
    "Funnel",
    "HullEvent",
    "HullState",
    "Import",
    "Level",
    "LevelBridge",
    "Lineage",
    "Model",
    "ModelFile",
    "Placement",
    "Prediction",
    "Property",
    "Prototype",
    "ReferenceSet",
    "Round",
    "Search",
    "Selection",
    "Source",
    "Structure",
    "TrainingSet",
    "Unplaced",
    "Validation",
    "Work",
    "Worker",
]
