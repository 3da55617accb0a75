"""OPTIMADE 1.2, to be read by anybody's client: https://specification.optimade.org."""
