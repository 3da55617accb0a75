"""What every predictor promises, be it an ensemble of ours or a pretrained potential. A new one joins the list."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Structure

from predictors.augmentation import VOLUME_FACTORS, PlainCrystal, scaled
from predictors.bridge import Bridged, fit_bridge
from predictors.composition_model import CompositionConfig
from predictors.energy_model import ModelConfig
from predictors.ensemble import Ensemble
from predictors.errors import BadTrainingSet, NoFormationEnergy
from predictors.graph import CrystalLike
from predictors.model_files import ModelRecord
from predictors.potentials.base import PotentialPredictor
from predictors.potentials.named import load_potential
from predictors.predictor import Predictor
from predictors.published_model import PublishedConfig, PublishedModel
from predictors.structure_model import StructureConfig, StructureModel

PACKAGES = {"7net-0": "sevenn", "7net-l3i5": "sevenn", "chgnet": "chgnet", "chgnet-r2scan": "chgnet"}
CLOSE = 1e-4  # eV/atom

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=float)
PAIR = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])


def crystal(lattice: np.ndarray, numbers: list[int], frac_coords: np.ndarray) -> PlainCrystal:
    return PlainCrystal(lattice, np.array(numbers, dtype=np.int16), np.asarray(frac_coords, dtype=float))


SALT = crystal(FCC * 2.82, [11, 17], PAIR)
SODIUM = crystal(np.eye(3) * 4.2, [11, 11], PAIR)
OXIDE = crystal(
    np.eye(3) * 5.0, [3, 11, 8, 17, 3], [[0, 0, 0.01], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5] * 3]
)
ONE_SITE = crystal(np.eye(3) * 3.0, [3], np.zeros((1, 3)))
GOOD = [SALT, SODIUM, OXIDE, ONE_SITE]


def supercell(unit: PlainCrystal, times: int) -> PlainCrystal:
    shifts = np.stack(np.meshgrid(*[np.arange(times)] * 3, indexing="ij"), -1).reshape(-1, 3)
    frac_coords = (unit.frac_coords[None] + shifts[:, None]).reshape(-1, 3) / times
    return PlainCrystal(unit.lattice * times, np.tile(unit.numbers, times**3), frac_coords)


def energy_per_atom(crystal: CrystalLike, energy: float) -> float:
    """A level whose references are all 3 eV below vacuum, and that has none for lithium alone."""
    if set(crystal.numbers.tolist()) == {3} and len(crystal.numbers) > 1:
        raise NoFormationEnergy("no reference for Li")
    return energy / len(crystal.numbers) + 3.0


def tiny_ensemble(config: ModelConfig, members: int = 3) -> Ensemble:
    """Weights by chance, seeded."""
    import torch

    built = []
    for seed in range(members):
        torch.manual_seed(seed)
        member = config.build().eval()
        if isinstance(member, StructureModel | PublishedModel):
            member.adjacency.fill_(12.0)
        built.append(member)
    return Ensemble(built, ModelRecord("made up", (3, 8, 11, 17)))


KINDS = {
    "structure": StructureConfig(width=8, steps=2, cutoff=4.0, max_neighbors=12, gaussians=8),
    "published": PublishedConfig(width=8, steps=2, gaussians=8),
    "composition": CompositionConfig(width=8, steps=1),
}


def bridged() -> Bridged:
    """The structure ensemble, its energies some way off, over a bridge that was fitted on salts of its elements."""
    formulas = [
        f"{cation}{a}{anion}{b}"
        for cation in ("Li", "Na")
        for anion in ("O", "Cl")
        for a in (1, 3, 5)
        for b in (1, 2, 7, 11)
    ]
    bridge = fit_bridge(("under it", "made up"), formulas, np.zeros(len(formulas)), np.full(len(formulas), 0.5))
    ensemble = tiny_ensemble(KINDS["structure"])
    return Bridged(replace(ensemble, record=replace(ensemble.record, level="under it")), bridge)


@pytest.fixture(scope="module", params=[*KINDS, "bridged", *PACKAGES])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    if request.param in KINDS:
        return tiny_ensemble(KINDS[request.param])
    if request.param == "bridged":
        return bridged()
    if importlib.util.find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"{PACKAGES[request.param]} isn't installed: pip install 'motherlode[potentials]'")
    potential = load_potential(request.param)
    return PotentialPredictor(potential, ModelRecord("made up", potential.elements), energy_per_atom)


def test_the_record_says_what_is_predicted_and_of_what(predictor: Predictor) -> None:
    assert predictor.record.level == "made up"
    assert {3, 8, 11, 17} <= set(predictor.record.elements)


def test_one_row_a_crystal_in_order(predictor: Predictor) -> None:
    found = predictor.predict(GOOD)
    assert not found.refused
    assert len(found.latent) == len(found.member_energies) == 4
    np.testing.assert_allclose(found.energy, np.median(found.member_energies, axis=1))
    np.testing.assert_array_equal(found.volume_factor, 1)
    assert (np.isnan(found.spread) | (found.spread >= 0)).all()
    alone = [float(predictor.predict([one]).energy[0]) for one in GOOD]
    np.testing.assert_allclose(found.energy, alone, atol=CLOSE)
    np.testing.assert_allclose(predictor.predict(GOOD[::-1]).energy, alone[::-1], atol=CLOSE)
    assert np.ptp(alone) > 10 * CLOSE


def test_a_single_member_says_nothing_of_its_spread(predictor: Predictor) -> None:
    """Either nothing at all, or that it agrees with itself."""
    found = predictor.predict(GOOD, members=1)
    assert found.member_energies.shape == (4, 1)
    assert (np.isnan(found.spread) | (found.spread == 0)).all()
    with pytest.raises(BadTrainingSet, match="at least one"):
        predictor.predict(GOOD, members=0)


BAD = {
    "no atoms": crystal(np.eye(3) * 4, [], np.zeros((0, 3))),
    "unknown element": replace(SALT, numbers=np.array([11, 84], dtype=np.int16)),
    "no element": replace(SALT, numbers=np.array([11, 0], dtype=np.int16)),
    "element 300": replace(SALT, numbers=np.array([11, 300], dtype=np.int16)),
    "NaN for an element": replace(SALT, numbers=np.array([11, np.nan])),
    "symbols": replace(SALT, numbers=np.array(["Na", "Cl"])),
    "nothing": None,
    "another library's": Structure(FCC * 2.82, ["Na", "Cl"], PAIR),
    "disordered": Structure(FCC * 2.82, [{"Na": 0.5, "Li": 0.5}, "Cl"], PAIR),
}
"""What nobody can predict."""
BAD_PLACES = {
    "NaN": replace(SALT, frac_coords=np.full((2, 3), np.nan)),
    "infinite lattice": replace(SALT, lattice=np.full((3, 3), np.inf)),
    "lattice beyond all measure": replace(SALT, lattice=np.eye(3) * 1e200),
    "flat": crystal(np.diag([5.0, 5.0, 1e-3]), [11, 17], PAIR),
    "no volume": crystal(np.zeros((3, 3)), [11, 17], PAIR),
    "lists": replace(SALT, lattice=SALT.lattice.tolist(), frac_coords=SALT.frac_coords.tolist()),
    "a coordinate too many": replace(SALT, frac_coords=np.zeros((3, 3))),
    "a box that no memory holds": crystal(np.eye(3) * 1e5, [11, 17], PAIR),
}
"""What only a model can predict that looks at the atoms alone."""
LONE = crystal(np.eye(3) * 40, [11], np.zeros((1, 3)))
CLOSE_PAIR = crystal(np.eye(3) * 4.2, [11, 11, 17], [[0, 0, 0], [0, 0, 0.05], [0.5, 0.5, 0.5]])
ODD = {
    "isolated atom": LONE,
    "one atom far from the others": crystal(
        np.diag([4.0, 4.0, 40.0]), [11, 17, 11], [[0, 0, 0], [0.5, 0.5, 0.07], [0, 0, 0.5]]
    ),
    "atoms in one place": crystal(np.eye(3) * 4.2, [11, 11, 17], [[0, 0, 0], [0, 0, 0], [0.5, 0.5, 0.5]]),
    "overlapping atoms": CLOSE_PAIR,
    "squeezed": scaled(SALT, 0.05),
}


def sees_places(predictor: Predictor) -> bool:
    return not (isinstance(predictor, Ensemble) and isinstance(predictor.config, CompositionConfig))


@pytest.mark.parametrize("scan", [False, True])
def test_a_bad_crystal_spoils_no_other(predictor: Predictor, scan: bool) -> None:
    """What can't be asked at all is refused with a reason; what merely looks odd gets a number or a reason."""
    good = predictor.predict([SALT, OXIDE], volume_scan=scan).energy
    mixed: list[Any] = [SALT, *BAD.values(), *BAD_PLACES.values(), *ODD.values(), OXIDE]
    found = predictor.predict(mixed, volume_scan=scan)
    np.testing.assert_allclose(found.energy[[0, -1]], good, atol=CLOSE)
    assert not {0, len(mixed) - 1} & found.refused.keys()
    names = ["", *BAD, *BAD_PLACES, *ODD, ""]
    assert {*BAD, *(BAD_PLACES if sees_places(predictor) else {})} <= {names[index] for index in found.refused}
    for index in range(len(mixed)):
        assert np.isfinite(found.energy[index]) != (index in found.refused), names[index]
    assert all(re.search(r"\w+ \w+", why) and "\n" not in why for why in found.refused.values())
    assert "Po" in found.refused[1 + list(BAD).index("unknown element")]


def test_what_is_hardly_matter_is_refused_or_marked(predictor: Predictor) -> None:
    """A model without edges to read from, or with atoms where none can be, can't know what it says."""
    if not sees_places(predictor):
        pytest.skip("it sees no places")
    found = predictor.predict([SALT, LONE, CLOSE_PAIR])
    assert found.refused.keys() | found.odd.keys() == {1, 2}
    told = found.refused | found.odd
    assert "neighbour" in told[1]
    assert "of each other" in told[2]


def test_a_cell_of_hundreds_of_atoms_is_one_crystal_among_others(predictor: Predictor) -> None:
    large = supercell(SALT, 7)
    assert len(large.numbers) == 686
    found = predictor.predict([SALT, large, SODIUM])
    assert not found.refused
    assert found.energy[1] == pytest.approx(found.energy[0], abs=CLOSE)


def test_neither_order_nor_origin_nor_periods_of_the_atoms_matter(predictor: Predictor) -> None:
    order = np.array([3, 0, 4, 2, 1])
    same = PlainCrystal(OXIDE.lattice, OXIDE.numbers[order], OXIDE.frac_coords[order] + [3.2, -0.4, 0.1])
    one, other = predictor.predict([OXIDE, same]).energy
    assert one == pytest.approx(other, abs=CLOSE)


def test_the_scan_is_twenty_predictions_and_their_minimum(predictor: Predictor) -> None:
    found = predictor.predict(GOOD, volume_scan=True)
    for index, one in enumerate(GOOD):
        each = predictor.predict([scaled(one, factor) for factor in VOLUME_FACTORS]).energy
        assert found.energy[index] == pytest.approx(each.min(), abs=CLOSE)
        assert found.volume_factor[index] in VOLUME_FACTORS
        at_best = predictor.predict([scaled(one, float(found.volume_factor[index]))]).energy[0]
        assert at_best == pytest.approx(found.energy[index], abs=CLOSE)


def test_no_crystals_no_predictions(predictor: Predictor) -> None:
    for scan in (False, True):
        found = predictor.predict([], volume_scan=scan)
        assert found.energy.shape == found.spread.shape == found.volume_factor.shape == (0,)
        assert not found.refused


def test_progress_counts_every_crystal(predictor: Predictor) -> None:
    done: list[int] = []
    predictor.predict([ONE_SITE] * 70 + [BAD_PLACES["NaN"]], progress=done.append)
    assert sum(done) == 71
    assert len(done) > 1


def test_what_is_too_good_to_be_true_is_refused() -> None:
    pytest.importorskip("chgnet", reason="the extra `potentials` isn't installed")
    potential = load_potential("chgnet")
    deep = PotentialPredictor(potential, ModelRecord("deep", potential.elements), lambda _crystal, energy: energy)
    found = deep.predict([SALT, ONE_SITE])  # -7 eV per cell for a formation energy, and lithium's -1.5
    assert "chgnet is at a loss: -7" in found.refused[0]
    assert np.isfinite(found.energy).tolist() == [False, True]


def test_what_no_memory_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("chgnet", reason="the extra `potentials` isn't installed")
    potential = load_potential("chgnet")
    monkeypatch.setattr(potential, "most_cost", 2_000)
    found = PotentialPredictor(potential, ModelRecord("made up", potential.elements), energy_per_atom).predict(
        [SALT, supercell(SALT, 3)]
    )
    assert list(found.refused) == [1]
    assert "too large for chgnet" in found.refused[1]


def test_what_a_level_refuses_is_refused_with_its_reason() -> None:
    pytest.importorskip("chgnet", reason="the extra `potentials` isn't installed")
    potential = load_potential("chgnet")
    lithium = crystal(np.eye(3) * 3.4, [3, 3], PAIR)
    record = ModelRecord("made up", potential.elements)
    found = PotentialPredictor(potential, record, energy_per_atom).predict([SALT, lithium], volume_scan=True)
    assert found.refused == {1: "no reference for Li"}
    assert np.isnan(found.energy).tolist() == [False, True]


def test_a_network_gone_wrong_is_refused_for_what_it_can_not_say() -> None:
    ensemble = tiny_ensemble(KINDS["structure"])
    ensemble.members[0].baseline[17] = float("nan")
    found = ensemble.predict([SALT, SODIUM], volume_scan=True)
    assert found.refused == {0: "the model finds no finite energy for it"}
    assert np.isfinite(found.energy).tolist() == [False, True]
