"""When two crystals are the same: composition, prototype, fingerprint, duplicates. Pure: no database in it."""
