import pytest
from interlat.report.table import compare, is_controlled, markdown, rich_comparisons, rich_table, summarise, variants_of
from rich.console import Console


def record(item, variant, success, steps=5, split="seen"):
    return {
        "item": item, "variant": variant, "split": split, "task_type": "pick", "success": success, "steps": steps,
        "max_steps": 9, "seed": 0, "config_hash": "abc", "sender_seconds": 0.01, "receiver_seconds": 0.2,
        "message_bytes": 100, "message_rows": 3, "sender_tokens": 50, "decoded_tokens": 20,
        "turns": [{"action": "go to </script> 1", "observation": "You <b>arrive</b>."}] * steps,
    }  # fmt: skip


RECORDS = [
    record(f"game {i}", variant, i < wins, split="seen" if i < 15 else "unseen")
    for variant, wins in (("zeros", 8), ("latent", 24), ("text_sampled", 12), ("none", 8), ("text", 16))
    for i in range(30)
]


def test_variants_stand_in_reading_order():
    assert variants_of(RECORDS) == ["none", "text", "text_sampled", "latent", "zeros"]


def test_rows_count_what_is_there():
    rows = {(row.variant, row.split): row for row in summarise(RECORDS)}
    assert rows["latent", "all"].success.estimate == pytest.approx(24 / 30)
    assert rows["latent", "unseen"].episodes == 15
    assert rows["latent", "unseen"].success.estimate == pytest.approx(9 / 15)
    assert rows["zeros", "unseen"].steps_won is None
    assert rows["text", "all"].success.low < 16 / 30 < rows["text", "all"].success.high


def test_comparisons_are_paired_by_item():
    pairs = {(c.first, c.second, c.split): c for c in compare(RECORDS)}
    latent = pairs["latent", "text", "all"]
    assert latent.difference.estimate == pytest.approx(8 / 30)
    assert (latent.test.first_better, latent.test.second_better) == (8, 0)
    assert latent.test.p_value == pytest.approx(2 * 0.5**8)
    assert ("latent", "zeros", "all") in pairs and ("text", "none", "seen") in pairs


def test_a_latent_result_without_controls_says_so():
    bare = [r for r in RECORDS if r["variant"] != "zeros"]
    assert is_controlled(RECORDS) and not is_controlled(bare)
    console = Console(width=80, record=True, file=None)
    with console.capture() as capture:
        console.print(rich_table(bare))
    assert "uncontrolled" in capture.get()


@pytest.mark.parametrize("make", [rich_table, rich_comparisons])
def test_tables_fit_a_terminal_of_80_columns(make):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(make(RECORDS))
    text = capture.get()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_markdown_has_a_line_a_row():
    text = markdown(RECORDS)
    assert text.count("| latent |") == 3
    assert "| latent - text | all | +26.7 |" in text
