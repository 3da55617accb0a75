"""Compositions by oxidation states: which elements, in which amounts, can balance."""
