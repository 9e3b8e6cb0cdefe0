import pytest
import torch

from interlat.engine.sampling import Sampling, choose, draw_uniforms, row_seed
from interlat.errors import InputError


def test_row_seed_is_fixed_and_depends_on_all_three():
    assert row_seed(0, "game", "scout") == 7668804165810310081
    seeds = {row_seed(s, i, a) for s in (0, 1) for i in ("a", "b") for a in ("scout", "actor")}
    assert len(seeds) == 8 and all(0 <= seed < 2**63 for seed in seeds)


def test_any_name_has_a_seed():
    assert row_seed(0, "a\ud800", "x") != row_seed(0, "a?", "x")


def test_uniforms_of_a_row_do_not_depend_on_the_others():
    together = draw_uniforms([3, 4, 5], 7)
    assert torch.equal(together[1:2], draw_uniforms([4], 7))
    assert torch.equal(draw_uniforms([4], 20)[:, :7], draw_uniforms([4], 7))


def test_greedy_takes_the_largest():
    assert choose(torch.tensor([[0.0, 2.0, 1.0], [5.0, 2.0, 1.0]]), Sampling(), None).tolist() == [1, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampled_frequencies_follow_the_softmax(temperature):
    logits = torch.tensor([1.0, 0.0, 2.0, -1.0])
    uniforms = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    chosen = choose(logits.expand(10_000, 4), Sampling(temperature=temperature), uniforms)
    frequencies = torch.bincount(chosen, minlength=4) / 10_000
    assert torch.allclose(frequencies, torch.softmax(logits / temperature, 0), atol=2e-4)


def test_top_k_and_top_p_keep_the_right_tokens():
    logits = torch.log(torch.tensor([0.1, 0.4, 0.3, 0.2]))
    uniforms = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]

    def kept(**options):
        chosen = choose(logits.expand(1000, 4), Sampling(temperature=1.0, **options), uniforms)
        return set(chosen.tolist())

    assert kept(top_k=2) == {1, 2}
    assert kept(top_p=0.65) == {1, 2}
    assert kept(top_p=0.75) == {1, 2, 3}
    assert kept(top_p=1e-6) == {1}
    assert kept(top_k=3, top_p=0.5) == {1, 2}
    assert kept(top_k=99) == {0, 1, 2, 3}


def test_probabilities_are_renormalised_over_what_is_kept():
    logits = torch.log(torch.tensor([0.1, 0.4, 0.3, 0.2]))
    uniforms = (torch.arange(7000, dtype=torch.float64) + 0.5) / 7000
    chosen = choose(logits.expand(7000, 4), Sampling(temperature=1.0, top_p=0.65), uniforms)
    assert torch.bincount(chosen, minlength=4).tolist() == [0, 4000, 3000, 0]


@pytest.mark.parametrize("options", [{}, {"top_k": 299}, {"top_p": 0.999}])
def test_near_ties_in_another_order_choose_the_same_token(options):
    """The last digits of logits differ between batch sizes; they must not choose among tokens that are alike."""
    near = torch.randn(64, 300, generator=torch.Generator().manual_seed(0)) * 1e-7
    uniforms = torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sampling = Sampling(temperature=1.0, **options)
    chosen = choose(near, sampling, uniforms)
    assert ((chosen - choose(-near, sampling, uniforms)).abs() <= (1 if options else 0)).all()
    if not options:
        assert torch.equal(chosen, (uniforms * 300).long())


def test_the_largest_number_below_1_chooses_a_kept_token():
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.3, 0.2]]))
    largest = torch.tensor([1.0], dtype=torch.float64).nextafter(torch.zeros(1, dtype=torch.float64))
    assert choose(logits, Sampling(temperature=1.0), largest).item() == 3
    assert choose(logits, Sampling(temperature=1.0, top_k=2), largest).item() == 2
    assert choose(logits, Sampling(temperature=1.0, top_p=1e-6), largest).item() == 1
    assert choose(logits, Sampling(temperature=1.0, top_k=2), torch.zeros(1, dtype=torch.float64)).item() == 1


def test_sampling_without_numbers_is_an_error():
    with pytest.raises(InputError, match="pass seeds"):
        choose(torch.zeros(1, 2), Sampling(temperature=1.0), None)


@pytest.mark.parametrize(
    "options", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": -1}, {"max_new_tokens": 0}]
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Sampling(**options)
