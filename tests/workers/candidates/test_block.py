"""Blocks: arrays that say the same as the candidates made of them."""

import numpy as np
import pytest

from registry.crystal import Crystal
from workers.candidates.block import Block
from workers.candidates.filters import Limits, broken_rule, closest_approaches, elements_held, flags
from workers.candidates.funnel import Funnel
from workers.candidates.generation import Parent, Settings, blocks, passing
from workers.candidates.novelty import KnownCompositions, composition_key
from workers.candidates.volume import predicted_volume

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
FLUORITE = Crystal(FCC * 5.46, np.array([20, 9, 9], np.int16), np.array([[0] * 3, [0.25] * 3, [0.75] * 3]))
FAMILY = ("Li", "Na", "K", "Mg", "Ca", "Sr", "Zn", "Al", "F", "Cl", "O", "S")


@pytest.fixture(scope="module")
def made() -> list[Block]:
    return list(blocks([Parent("fluorite", FLUORITE)], FAMILY))


def test_a_block_is_one_parent_and_one_operation(made: list[Block]) -> None:
    assert {block.source.operation for block in made} == {"ionic_substitution", "partial_substitution"}
    for block in made:
        assert block.source.parent == "fluorite"
        assert block.numbers.shape == (len(block), block.nsites)
        assert block.numbers.dtype == np.int16
        assert len(block.probabilities) == len(block.ranks) == len(block.made) == len(block) > 0


def test_a_candidate_is_its_row(made: list[Block]) -> None:
    for block in made:
        for row in range(0, len(block), 7):
            candidate = block.candidate(row)
            assert np.array_equal(candidate.crystal.numbers, block.numbers[row])
            assert candidate.crystal.volume == pytest.approx(block.volumes[row])
            assert candidate.crystal.volume == pytest.approx(predicted_volume(candidate.crystal, block.source.crystal))
            assert candidate.probability == block.probabilities[row]
            scaled = block.source.pairs.scaled(float(block.lengths[row]))
            assert candidate.flags == flags(candidate.crystal, scaled)
            assert broken_rule(candidate.crystal, scaled, Limits()) is None


def test_the_arguments_of_a_row_make_its_numbers(made: list[Block]) -> None:
    """What lineage says can be done again."""
    symbols = {
        "Li": 3,
        "Na": 11,
        "K": 19,
        "Mg": 12,
        "Ca": 20,
        "Sr": 38,
        "Zn": 30,
        "Al": 13,
        "F": 9,
        "Cl": 17,
        "O": 8,
        "S": 16,
    }
    names = {number: symbol for symbol, number in symbols.items()}
    for block in made:
        for row in range(len(block)):
            told = block.candidate(row).arguments
            numbers = block.source.crystal.numbers.copy()
            elements = told["elements"]
            assert isinstance(elements, dict)
            for site, number in enumerate(block.source.crystal.numbers.tolist()):
                numbers[site] = symbols[elements.get(names[number], names[number])]
            if "sites" in told:
                sites, parted = told["sites"], str(told["ion"]).rstrip("+-0123456789")
                assert isinstance(sites, list)
                numbers[block.source.crystal.numbers == symbols[parted]] = symbols[
                    str(told["kept_as"]).rstrip("+-0123456789")
                ]
                numbers[sites] = symbols[str(told["replaced_by"]).rstrip("+-0123456789")]
            assert np.array_equal(numbers, block.numbers[row])


def test_many_candidates_of_a_parent_come_in_several_blocks(made: list[Block], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.candidates.proposals.BLOCK", 10)
    small = list(blocks([Parent("fluorite", FLUORITE)], FAMILY))
    assert max(map(len, small)) <= 10
    for operation in ("ionic_substitution", "partial_substitution"):
        numbers, ranks = (
            [
                np.concatenate([getattr(one, name) for one in some if one.source.operation == operation])
                for some in (made, small)
            ]
            for name in ("numbers", "ranks")
        )
        assert np.array_equal(*numbers)
        assert np.array_equal(*ranks)


def test_a_selection_keeps_rows_together(made: list[Block]) -> None:
    block = made[0]
    some = block.select(np.array([3, 1]))
    assert np.array_equal(some.numbers, block.numbers[[3, 1]])
    assert np.array_equal(some.volumes, block.volumes[[3, 1]])
    assert some.candidate(0).arguments == block.candidate(3).arguments


def test_each_rule_counts_what_it_was_the_first_to_refuse(made: list[Block]) -> None:
    block = next(one for one in made if one.source.operation == "partial_substitution")
    funnel = Funnel()
    strict = Settings(max_elements=2, limits=Limits(closest=0.9, least_volume=12.0))
    kept = passing(block, strict, funnel, None)
    large = elements_held(block.numbers) > 2
    dense = ~large & (block.volumes / block.nsites < 12.0)
    assert funnel.rejected["too_many_elements"] == large.sum()
    assert funnel.rejected["volume"] == dense.sum()
    assert sum(funnel.rejected.values()) + len(kept) == len(block)


def test_known_compositions_are_refused(made: list[Block]) -> None:
    known = KnownCompositions.of([{3: 2, 8: 1}, {12: 1, 17: 2}])
    funnel = Funnel()
    settings = Settings(novel_compositions=True)
    rest = list(blocks([Parent(0, FLUORITE)], FAMILY, settings, funnel, known))
    keys = {composition_key(block.candidate(row).crystal.amounts) for block in rest for row in range(len(block))}
    assert not keys & {composition_key({3: 2, 8: 1}), composition_key({12: 1, 17: 2})}
    assert funnel.rejected["known_composition"] == sum(map(len, made)) - sum(map(len, rest)) == 2


def test_novelty_needs_to_know_what_is_known() -> None:
    with pytest.raises(ValueError, match="novel_compositions"):
        next(blocks([Parent(0, FLUORITE)], FAMILY, Settings(novel_compositions=True)))


def test_many_rows_are_looked_at_in_parts(made: list[Block], monkeypatch: pytest.MonkeyPatch) -> None:
    block = made[0]
    whole = closest_approaches(block.numbers, block.source.pairs, block.lengths)
    monkeypatch.setattr("workers.candidates.filters.AT_ONCE", 10)
    assert np.array_equal(closest_approaches(block.numbers, block.source.pairs, block.lengths), whole)
