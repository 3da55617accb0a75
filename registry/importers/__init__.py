"""Files of crystals into records, one module per format, a bad record reported and passed over. No database in it."""

from registry.importers.files import read_file
from registry.importers.record import ImportedEnergy, ImportedRecord, Item

__all__ = ["ImportedEnergy", "ImportedRecord", "Item", "read_file"]
