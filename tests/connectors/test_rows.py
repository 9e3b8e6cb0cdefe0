import pytest
import torch

from interlat.connectors.rows import padded_rows


def test_rows_stand_on_the_left_and_the_mask_tells_them_from_padding():
    messages = [torch.randn(2, 3), torch.randn(4, 3, dtype=torch.bfloat16), torch.randn(0, 3)]
    rows, mask = padded_rows(messages)
    assert rows.shape == (3, 4, 3) and rows.dtype == torch.float32 and mask.sum(dim=1).tolist() == [2, 4, 0]
    for row, real, message in zip(rows, mask, messages, strict=True):
        assert torch.equal(row[real], message.float()) and not row[~real].any()
        assert torch.equal(row[: len(message)], message.float())


@pytest.mark.parametrize(("device", "expected"), [(None, "cpu"), ("meta", "meta")])
def test_they_go_where_they_are_asked(device, expected):
    rows, mask = padded_rows([torch.randn(2, 3)], device)
    assert rows.device.type == mask.device.type == expected
