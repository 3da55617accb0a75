"""Proposals of new crystals. Pure: no database, no model."""
