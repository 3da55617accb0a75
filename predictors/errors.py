"""Every error that the predictors raise on purpose. The message says what to do.

PredictorError
├── BadCrystal         a crystal no graph can be built of (NaN, no atoms, no volume, no such element)
├── UnknownElement     a crystal holds an element that the model never saw
├── BadConfig          a value of a training's config is of no use
├── BadTrainingSet     the training table is empty, lacks columns or holds nonsense
├── Diverged           a training's loss became NaN or infinite
├── TrainingFailed     a process that trained a member ended before the training did
├── BadCheckpoint      a model folder or training state is damaged or of another format version
├── BackendMissing     a message-passing back-end was asked for that isn't installed
├── PotentialMissing   a pretrained potential was asked for whose package isn't installed
└── NoFormationEnergy  a level has no formation energy for a crystal's raw energy
"""

from __future__ import annotations


class PredictorError(Exception):
    """Something that the person at the keyboard can mend."""


class BadCrystal(PredictorError):
    """No graph can be built of this crystal."""


class UnknownElement(PredictorError):
    """The model never saw one of the crystal's elements in training."""

    def __init__(self, numbers: list[int]) -> None:
        from ase.data import chemical_symbols

        known = range(len(chemical_symbols))
        names = ", ".join(chemical_symbols[number] if number in known else f"element {number}" for number in numbers)
        super().__init__(f"the model never saw {names}: train on data that hold it")
        self.numbers = numbers


class BadConfig(PredictorError):
    """A value of a training's config is of no use."""


class BadTrainingSet(PredictorError):
    """The training table can't be learnt from."""


class Diverged(PredictorError):
    """A training's loss became NaN or infinite."""


class TrainingFailed(PredictorError):
    """A process that trained a member ended before the training did."""


class BadCheckpoint(PredictorError):
    """A model folder or a training state can't be read."""


class BackendMissing(PredictorError):
    """The message-passing back-end isn't installed."""


class PotentialMissing(PredictorError):
    """The package of a pretrained potential isn't installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} isn't installed: pip install 'motherlode[potentials]'")
        self.package = package


class NoFormationEnergy(PredictorError):
    """A level of theory gives this crystal none: it lacks an element's reference, or its corrections refuse it."""
