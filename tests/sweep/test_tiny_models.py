"""That the sweep misses no type without saying so."""

import pytest
import torch
from transformers import CONFIG_MAPPING

from sweep.tiny_models import EXCEPTIONS, NOT_BUILT, REFUSED, model_types, tiny_model

pytestmark = pytest.mark.sweep


@pytest.mark.parametrize("model_type", model_types())
def test_every_type_is_built_tiny_or_named_with_a_reason(model_type: str) -> None:
    if model_type in NOT_BUILT:
        pytest.skip(NOT_BUILT[model_type])
    first, second = tiny_model(model_type), tiny_model(model_type)
    assert sum(parameter.numel() for parameter in first.parameters()) < 4_000_000
    assert {parameter.dtype for parameter in first.parameters()} == {torch.float32}
    assert not first.training
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other), "the same model every time"


def test_exceptions_name_types() -> None:
    refused = {name for names in REFUSED.values() for name in names}
    unknown = (EXCEPTIONS.keys() | NOT_BUILT.keys() | refused) - set(CONFIG_MAPPING)
    assert not unknown, f"types that this transformers does not know: {unknown}"
    assert all(len(reason.split()) > 4 for reason in NOT_BUILT.values())
