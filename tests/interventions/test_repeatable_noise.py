"""Numbers that follow from what they are for: their generator's twin, their distribution, and VCD's images of noise."""

import math

import pytest
import torch

from lvlmscope.interventions.repeatable_noise import mixed, normal, uniform
from lvlmscope.interventions.vcd import noised
from tests.reference.decoding_methods import kept_share

MASK = 2**64 - 1


def splitmix(state: int, value: int) -> int:
    """Steele, Lea and Flood 2014, with whole numbers of 64 bits; the state times the step, and one more number."""
    step = 0x9E3779B97F4A7C15
    bits = (state * step + value + step) & MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return bits ^ (bits >> 31)


def signed(bits: int) -> int:
    return bits - 2**64 if bits >= 2**63 else bits


@pytest.mark.parametrize("state", [0, 1, 7, 2**40 + 3])
def test_states_are_those_of_the_published_generator(state: int) -> None:
    values = [0, 1, 2, 1000, 2**50 + 1]
    expected = [splitmix(state, value) for value in values]
    assert mixed(state, torch.tensor(values)).tolist() == [signed(each) for each in expected]
    again = mixed(mixed(state, torch.tensor(values)), 5)
    assert again.tolist() == [signed(splitmix(each, 5)) for each in expected]
    shares = uniform(mixed(state, torch.tensor(values))).tolist()
    assert shares == pytest.approx([((each >> 41) + 0.5) / 2**23 for each in expected], abs=1e-7)


def test_numbers_are_inside_their_range_and_of_their_distribution() -> None:
    states = mixed(3, torch.arange(40_000))
    shares, numbers = uniform(states), normal(states)
    assert 0 < float(shares.min()) < 1e-3
    assert 0.999 < float(shares.max()) < 1
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(numbers.std()) == pytest.approx(1, abs=0.02)
    assert float((numbers < -1).float().mean()) == pytest.approx(0.1587, abs=0.01)
    assert ((numbers > 0) == (shares > 0.5)).all()
    assert bool(torch.isfinite(normal(torch.tensor([0, -1]))).all())  # the least and the greatest share


def test_images_are_noised_as_the_papers_schedule_says() -> None:
    pixels = torch.linspace(-2, 2, 2 * 3 * 4 * 4).view(2, 3, 4, 4)
    field = normal(mixed(9, torch.arange(3 * 4 * 4))).view(3, 4, 4)
    for step in (0, 500, 999):
        kept = kept_share(step)
        expected = math.sqrt(kept) * pixels + math.sqrt(1 - kept) * field  # the same for each image
        torch.testing.assert_close(noised(pixels, step=step, seed=9), expected, atol=1e-5, rtol=1e-5)
    assert not torch.equal(noised(pixels, step=500, seed=8), noised(pixels, step=500, seed=9))
