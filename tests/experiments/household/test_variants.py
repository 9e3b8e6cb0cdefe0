import pytest

from interlat.errors import InputError
from interlat.experiments.household.variants import check_variants, rows_of


def test_short_variants_and_their_lengths():
    assert [rows_of(v) for v in ("compressed:8", "resampled:1", "rollout:128")] == [8, 1, 128]
    assert [rows_of(v) for v in ("latent", "first_rows:8", "compressed", "compressed:0", "compressed:-1")] == [0] * 5
    check_variants(["none", "compressed:8", "first_rows:8", "int8"])
    with pytest.raises(InputError, match="no variants"):
        check_variants([])
