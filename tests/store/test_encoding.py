import numpy as np
import pytest
import torch

from interlat.errors import InputError, MessageError
from interlat.store.encoding import decode, encode, stored_dtype


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_plain_rows_come_back_bit_for_bit(dtype):
    rows = torch.randn(5, 6).to(getattr(torch, dtype))
    encoded = encode(rows, dtype, "plain")
    assert encoded.scales is None and encoded.error == 0 and encoded.rows.dtype == rows.dtype
    back = decode(encoded.rows, None, dtype)
    assert torch.equal(back, rows) and back.data_ptr() != encoded.rows.data_ptr()


@pytest.mark.parametrize("shape", [(7, 16), (7, 3, 16)])
def test_int8_rows_equal_a_slow_reference(shape):
    rows = torch.randn(*shape) * torch.logspace(-3, 3, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    encoded = encode(rows, "float32", "int8")
    for row, values in enumerate(rows.double().numpy()):
        scale = np.abs(values).max() / 127
        assert float(encoded.scales[row]) == pytest.approx(scale, rel=1e-6)
        assert np.abs(encoded.rows[row].numpy() - np.rint(values / scale)).max() <= 1
    back = decode(encoded.rows, encoded.scales, "float32")
    # Half a step at most, and the reported error is the measured one.
    steps = encoded.scales.reshape(-1, *[1] * (len(shape) - 1))
    assert bool(((back - rows).abs() <= 0.5001 * steps).all())
    assert encoded.error == pytest.approx(float((back - rows).norm() / rows.norm()), rel=1e-5)


def test_float8_keeps_small_numbers_where_int8_loses_them():
    rows = torch.tensor([[100.0, 0.01]])
    assert decode(*_stored(rows, "int8"), "float32")[0, 1] == 0
    assert decode(*_stored(rows, "float8"), "float32")[0, 1] == pytest.approx(0.01, rel=0.1)


def _stored(rows, encoding):
    encoded = encode(rows, "float32", encoding)
    return encoded.rows, encoded.scales


@pytest.mark.parametrize("encoding", ["int8", "float8"])
def test_zeros_and_the_largest_value_survive(encoding):
    rows = torch.tensor([[0.0, 0.0], [3.0, -7.0]])
    encoded = encode(rows, "float32", encoding)
    back = decode(encoded.rows, encoded.scales, "float32")
    assert torch.equal(back[0], rows[0]) and back[1, 1] == pytest.approx(-7.0)
    assert encoded.rows.dtype == stored_dtype("float32", encoding) and encoded.rows.element_size() == 1
    assert encode(torch.zeros(1, 2), "float32", encoding).error == 0


def test_what_float16_cannot_hold_is_refused_and_not_made_infinite():
    with pytest.raises(MessageError, match="too large for float16"):
        encode(torch.tensor([[7e4]]), "float16", "plain")
    with pytest.raises(MessageError, match="too large for float32"):
        encode(torch.tensor([[-1e300]], dtype=torch.float64), "float32", "int8")
    assert encode(torch.tensor([[7e4]]), "bfloat16", "plain").rows.isfinite().all()


def test_an_unknown_format_is_refused():
    with pytest.raises(InputError, match="float33"):
        encode(torch.zeros(1, 1), "float33", "plain")
