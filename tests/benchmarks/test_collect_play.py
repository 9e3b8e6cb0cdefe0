from benchmarks.collect_play import play, prompts_of


def test_both_sides_write_the_same_tokens(tmp_path):
    ours, plain = (play(kind, "tiny", 7, 6, 3, str(tmp_path / kind)) for kind in ("ours", "plain"))
    assert ours["digest"] == plain["digest"] and ours["tokens"] == plain["tokens"] > 7
    assert ours["seconds"] > 0 and plain["seconds"] > 0


def test_prompts_are_sorted_as_a_collection_sorts_them():
    lengths = [len(prompt) for prompt in prompts_of(30, 100)]
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) > 5
