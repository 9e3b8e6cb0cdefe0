"""Each control: what it keeps exactly, what in expectation, and that no batch neighbour matters."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interlat.controls.latents import (
    control_message,
    control_names,
    is_control,
    parse_control,
    shortens,
)
from interlat.errors import InputError, MessageError

ALONE = [name for name in control_names() if name != "cross_task"]
NOT_RANDOM = ("zeros", "first_rows", "last_rows", "spaced_rows", "keep_first", "keep_last", "pooled_rows", "int8")
NEED_TWO_ROWS = [
    "gaussian",
    "covariance_gaussian",
    "covariance_gaussian_centred",
    "covariance_noise",
    "white_noise",
    "random_rotation",
    "shuffled_rows",
]


def make_message(rows: int, size: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator, dtype=torch.float64)
    states = torch.randn(rows, size, generator=generator, dtype=torch.float64) @ mixing
    return (states + 3 * torch.randn(size, generator=generator, dtype=torch.float64)).to(dtype)


def draws(name: str, message: Tensor, count: int = 1500) -> Tensor:
    return torch.stack([control_message(name, message, f"item {n}", run_seed=0) for n in range(count)])


def assert_within_errors(samples: Tensor, expected: Tensor) -> None:
    """The mean over draws is within 5 standard errors of ``expected`` everywhere."""
    error = samples.std(0) / math.sqrt(samples.shape[0])
    assert ((samples.mean(0) - expected).abs() <= 5 * error + 1e-12).all()


def covariances(samples: Tensor) -> Tensor:
    centred = samples - samples.mean(1, keepdim=True)
    return centred.mT @ centred / (samples.shape[1] - 1)


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_every_control_keeps_dtype_input_and_finiteness(name: str, dtype: torch.dtype) -> None:
    message = make_message(7, dtype=dtype)
    before = message.clone()
    controlled = control_message(name, message, "a", run_seed=1)
    assert controlled.dtype == dtype and controlled.device == message.device
    assert controlled.shape[1] == message.shape[1] and controlled.isfinite().all()
    controlled.fill_(0)
    assert torch.equal(message, before)


@pytest.mark.parametrize("name", ALONE)
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(2, 9), min_size=2, max_size=5), seed=st.integers(0, 2**62))
def test_a_message_does_not_depend_on_its_neighbours(name: str, lengths: list[int], seed: int) -> None:
    messages = [make_message(rows, seed=place, dtype=torch.float32) for place, rows in enumerate(lengths)]
    items = [f"game {place}" for place in range(len(lengths))]
    together = [control_message(name, *one, run_seed=seed) for one in zip(messages, items, strict=True)]
    backwards = [
        control_message(name, *one, run_seed=seed) for one in reversed(list(zip(messages, items, strict=True)))
    ]
    backwards.reverse()
    for message, item, one, other in zip(messages, items, together, backwards, strict=True):
        alone = control_message(name, message, item, run_seed=seed)
        assert torch.equal(one, alone) and torch.equal(other, alone)


@pytest.mark.parametrize("name", [name for name in ALONE if name not in NOT_RANDOM])
def test_random_controls_differ_by_item_and_seed(name: str) -> None:
    message = make_message(12)
    drawn = control_message(name, message, "a", run_seed=0)
    assert not torch.equal(drawn, control_message(name, message, "b", run_seed=0))
    assert not torch.equal(drawn, control_message(name, message, "a", run_seed=1))
    assert torch.equal(drawn, control_message(name, message, "a", run_seed=0))


@pytest.mark.parametrize("name", NEED_TWO_ROWS)
def test_one_row_is_refused_and_not_passed_through(name: str) -> None:
    with pytest.raises(InputError, match="at least 2 rows and the message of 'a' has 1"):
        control_message(name, make_message(1), "a", run_seed=0)


@pytest.mark.parametrize("name", sorted(set(ALONE) - set(NEED_TWO_ROWS)))
def test_one_row_is_enough_for_the_others(name: str) -> None:
    assert control_message(name, make_message(1), "a", run_seed=0).shape == (1, 6)


@pytest.mark.parametrize("name", ALONE)
def test_two_rows_and_constant_messages_stay_finite(name: str) -> None:
    for message in (make_message(2), torch.full((5, 6), 2.5, dtype=torch.float64)):
        assert control_message(name, message, "a", run_seed=0).isfinite().all()


@pytest.mark.parametrize("name", ALONE)
def test_unusable_messages_are_refused(name: str) -> None:
    broken = make_message(4)
    broken[2, 3] = torch.nan
    with pytest.raises(MessageError, match="'b' holds NaN"):
        control_message(name, broken, "b", run_seed=0)
    with pytest.raises(MessageError, match="not empty"):
        control_message(name, torch.zeros(0, 6), "b", run_seed=0)


def test_zeros_keep_only_the_length() -> None:
    assert torch.equal(control_message("zeros", make_message(3), "a", run_seed=0), torch.zeros(3, 6))


def test_gaussian_matches_mean_and_variance_in_expectation() -> None:
    message = make_message(5)
    samples = draws("gaussian", message)
    assert_within_errors(samples.mean(1), message.mean(0))
    assert_within_errors(samples.var(1), message.var(0))
    off_diagonal = ~torch.eye(6, dtype=torch.bool)
    assert_within_errors(covariances(samples)[:, off_diagonal], torch.zeros(30, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "keeps_mean"), [("covariance_gaussian", True), ("covariance_gaussian_centred", False)]
)
def test_covariance_gaussian_matches_in_expectation(name: str, keeps_mean: bool) -> None:
    message = make_message(5)
    samples = draws(name, message)
    assert_within_errors(samples.mean(1), message.mean(0) * keeps_mean)
    assert_within_errors(covariances(samples), covariances(message[None])[0])


@pytest.mark.parametrize("name", ["covariance_gaussian", "covariance_noise:1", "white_noise:1", "gaussian"])
def test_rows_are_independent(name: str) -> None:
    message = make_message(4)
    centre = message if "noise" in name else message.mean(0)
    deviations = draws(name, message) - centre
    products = (deviations[:, 0, :, None] * deviations[:, 1, None, :]).flatten(1)
    assert_within_errors(products, torch.zeros(36, dtype=torch.float64))


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_covariance_noise_has_the_covariance_of_the_message(strength: float) -> None:
    message = make_message(5)
    noise = draws(f"covariance_noise:{strength}", message) - message
    assert_within_errors(noise.mean(1), torch.zeros(6, dtype=torch.float64))
    assert_within_errors(noise.mT @ noise / 5, strength**2 * covariances(message[None])[0])


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_white_noise_has_the_power_of_covariance_noise(strength: float) -> None:
    message = make_message(5)
    white = draws(f"white_noise:{strength}", message) - message
    power = strength**2 * message.var(0).mean()
    assert_within_errors(white.mT @ white / 5, power * torch.eye(6, dtype=torch.float64))
    shaped = draws(f"covariance_noise:{strength}", message) - message
    assert_within_errors(shaped.square().sum((1, 2))[:, None], power * 30)


def test_absolute_white_noise_ignores_the_scale_of_the_message() -> None:
    small, large = make_message(5), 100 * make_message(5)
    noise = control_message("white_noise_absolute:0.5", small, "a", run_seed=0) - small
    same = control_message("white_noise_absolute:0.5", large, "a", run_seed=0) - large
    torch.testing.assert_close(noise, same)
    assert float((draws("white_noise_absolute", small) - small).std()) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(("rows", "size"), [(2, 6), (5, 6), (6, 6), (7, 6), (40, 6), (30, 200)])
def test_random_rotation_keeps_mean_and_covariance_exactly(rows: int, size: int) -> None:
    message = make_message(rows, size)
    rotated = control_message("random_rotation", message, "a", run_seed=0)
    torch.testing.assert_close(rotated.mean(0), message.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(covariances(rotated[None]), covariances(message[None]), rtol=1e-11, atol=1e-11)
    if rows > 2:
        assert (rotated - message).norm() > 0.1 * (message - message.mean(0)).norm()


def test_random_rotation_of_a_message_with_repeated_rows_is_exact() -> None:
    message = make_message(4).repeat(3, 1)
    rotated = control_message("random_rotation", message, "a", run_seed=0)
    torch.testing.assert_close(rotated.mean(0), message.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(covariances(rotated[None]), covariances(message[None]), rtol=1e-11, atol=1e-11)


def test_random_rotation_is_haar() -> None:
    """In the singular basis of X the rows give Q itself; Haar: E[Q] = 0, E[Q_ij²] = 1/r, E[Q_ii Q_jj] = 0."""
    message = make_message(4, 5)
    left, singular, right = torch.linalg.svd(message - message.mean(0), full_matrices=False)
    samples = draws("random_rotation", message) - message.mean(0)
    matrices = left[:, :3].mT @ samples @ right[:3].mT / singular[:3]
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(3, dtype=torch.float64).expand(1500, 3, 3))
    assert_within_errors(matrices, torch.zeros(3, 3, dtype=torch.float64))
    assert_within_errors(matrices.square(), torch.full((3, 3), 1 / 3, dtype=torch.float64))
    trace = matrices.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
    assert_within_errors(trace, torch.zeros(1, dtype=torch.float64))
    assert_within_errors(trace.square(), torch.ones(1, dtype=torch.float64))
    assert abs(float(torch.linalg.det(matrices).mean())) < 0.1


def test_shuffled_rows_are_the_same_rows_in_another_order() -> None:
    for item in range(40):
        message = make_message(2 + item % 4, dtype=torch.float32)
        shuffled = control_message("shuffled_rows", message, f"item {item}", run_seed=0)
        assert not torch.equal(shuffled, message)
        assert torch.equal(shuffled.sort(0).values, message.sort(0).values)
        matches = (shuffled[:, None] == message[None]).all(2)
        assert (matches.sum(0) == 1).all() and (matches.sum(1) == 1).all()


def test_spaced_rows_stand_in_the_middles_of_equal_segments() -> None:
    message = torch.arange(12.0)[:, None].expand(12, 3)
    spaced = control_message("spaced_rows:4", message, "a", run_seed=0)
    assert spaced[:, 0].tolist() == [1.0, 4.0, 7.0, 10.0]
    assert control_message("spaced_rows:1", message, "a", run_seed=0)[:, 0].tolist() == [6.0]
    assert control_message("spaced_rows:5", message[:7], "a", run_seed=0)[:, 0].tolist() == [0.0, 2.0, 3.0, 4.0, 6.0]
    assert torch.equal(control_message("spaced_rows:12", message, "a", run_seed=0), message)
    assert torch.equal(control_message("spaced_rows:13", message, "a", run_seed=0), message)


def test_pooled_rows_are_the_means_of_equal_segments() -> None:
    message = torch.arange(7.0)[:, None].expand(7, 3)
    assert control_message("pooled_rows:3", message, "a", run_seed=0)[:, 0].tolist() == [0.5, 2.5, 5.0]
    assert control_message("pooled_rows:1", message, "a", run_seed=0)[:, 0].tolist() == [3.0]
    assert torch.equal(control_message("pooled_rows:7", message, "a", run_seed=0), message)
    # Weighted by their lengths they have the mean of the message: no row is left out or counted twice.
    whole = make_message(11)
    for count in range(1, 11):
        pooled = control_message(f"pooled_rows:{count}", whole, "a", run_seed=0)
        lengths = torch.tensor([(k + 1) * 11 // count - k * 11 // count for k in range(count)], dtype=whole.dtype)
        torch.testing.assert_close((pooled * lengths[:, None]).sum(0) / 11, whole.mean(0))


def test_int8_rows_are_off_by_half_a_step_at_most() -> None:
    message = make_message(9)
    rounded = control_message("int8", message, "a", run_seed=0)
    steps = message.abs().amax(dim=1, keepdim=True) / 127
    assert ((rounded - message).abs() <= 0.5001 * steps).all() and not torch.equal(rounded, message)
    assert torch.equal(control_message("int8", torch.zeros(2, 4), "a", run_seed=0), torch.zeros(2, 4))


def test_what_keeps_a_part_of_the_message_is_no_evidence_that_it_matters() -> None:
    kept = {name for name in control_names() if shortens(name)}
    assert kept == {
        *("first_rows", "last_rows", "spaced_rows", "pooled_rows", "int8"),
        *("keep_rows", "keep_first", "keep_last"),
    }
    assert shortens("first-rows:4") and not shortens("zeros") and not shortens("nothing")


def test_first_rows_are_a_prefix() -> None:
    message = make_message(5, dtype=torch.float32)
    assert torch.equal(control_message("first_rows:3", message, "a", run_seed=0), message[:3])
    assert torch.equal(control_message("first_rows:9", message, "a", run_seed=0), message)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        *(("last_rows:3", [2, 3, 4]), ("last_rows:9", [0, 1, 2, 3, 4]), ("last_rows", [4])),
        *(("keep_first:0.4", [0, 1]), ("keep_first:0.41", [0, 1, 2]), ("keep_first:0.01", [0])),
        *(("keep_last:0.4", [3, 4]), ("keep_last:1", [0, 1, 2, 3, 4]), ("keep_last", [2, 3, 4])),
    ],
)
def test_an_end_of_a_message_is_kept(name: str, rows: list[int]) -> None:
    message = make_message(5, dtype=torch.float32)
    assert torch.equal(control_message(name, message, "a", run_seed=0), message[rows])


@pytest.mark.parametrize(("fraction", "rows", "kept"), [(0.1, 30, 3), (0.5, 5, 3), (0.01, 5, 1), (1.0, 5, 5)])
def test_keep_rows_keeps_the_order_and_the_share(fraction: float, rows: int, kept: int) -> None:
    message = torch.arange(rows, dtype=torch.float32)[:, None].expand(rows, 4)
    controlled = control_message(f"keep_rows:{fraction}", message, "a", run_seed=0)
    assert controlled.shape == (kept, 4)
    assert (controlled[1:, 0] > controlled[:-1, 0]).all()


def test_keep_rows_keeps_each_row_equally_often() -> None:
    message = torch.eye(6, dtype=torch.float64)
    samples = draws("keep_rows:0.5", message).sum(1)
    assert_within_errors(samples, torch.full((6,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gausian", "no control 'gausian'"),
        ("zeros:1", "takes no value"),
        ("first_rows:0", "a whole number above 0"),
        ("first_rows:1.5", "a whole number"),
        ("keep_rows:1.5", "at most 1"),
        ("covariance_noise:much", "a number above 0"),
        ("white_noise:inf", "a number above 0"),
        ("white_noise:", "a number above 0"),
    ],
)
def test_unknown_names_and_values_are_refused(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_control(name)


def test_names_and_defaults() -> None:
    assert is_control("cross-task") and is_control("keep_rows:0.3") and not is_control("text")
    control, value = parse_control("covariance-noise")
    assert (control.name, value) == ("covariance_noise", 1.0)
