import pytest
import yaml

from interlat.errors import InputError
from interlat.sharing.card import NOTHING_MEASURED, chosen_card, is_unchanged, new_card, results_section, with_results
from interlat.sharing.kinds import AGENT, STORE, Description

DESCRIBED = Description("An agent.", "print(1)", ("agent",), {"size": "12|3\n<b>"}, base_model="owner/base")


def parts(card):
    _, header, body = card.split("---\n", 2)
    return yaml.safe_load(header), body


def test_a_card_has_what_the_hub_reads_and_what_a_person_needs():
    header, body = parts(new_card(AGENT, DESCRIBED, "me/actor", license="apache-2.0"))
    assert header == {
        "license": "apache-2.0",
        "library_name": "interlat",
        "tags": ["interlat", "agent"],
        "base_model": "owner/base",
    }
    for words in (
        "# me/actor",
        "An agent.",
        "| size | 12/3 &lt;b> |",
        "print(1)",
        "interlat pull me/actor --output actor",
    ):
        assert words in body
    assert NOTHING_MEASURED in body


def test_a_card_leaves_out_what_is_not_known():
    header, _ = parts(new_card(AGENT, Description("An agent.", "print(1)"), "me/actor"))
    assert header == {"library_name": "interlat", "tags": ["interlat"]}


def test_numbers_take_the_place_of_the_sentence_that_there_are_none():
    card = new_card(AGENT, DESCRIBED, "me/actor", results=results_section("| 12.5 |"))
    assert "## Results\n\n| 12.5 |" in card and NOTHING_MEASURED not in card


def test_the_card_of_a_store_shows_its_index_and_claims_no_results():
    header, body = parts(new_card(STORE, Description("A store.", "print(1)", more="More."), "me/thoughts"))
    assert header["configs"] == [{"config_name": "index", "data_files": "index.parquet"}]
    assert header["library_name"] == "interlat" and "More." in body and "Results" not in body


def test_a_card_knows_whether_somebody_has_changed_it():
    card = new_card(AGENT, DESCRIBED, "me/actor")
    assert is_unchanged(card)
    assert not is_unchanged(card.replace("An agent.", "My agent.")) and not is_unchanged(card + "More.\n")
    assert not is_unchanged("# My own card\n") and not is_unchanged("")


def test_results_are_added_to_a_card_once():
    first = with_results("# Mine\n\nText.\n", results_section("one"))
    assert first.startswith("# Mine\n\nText.\n\n") and "one" in first
    second = with_results(first, results_section("two"))
    assert "two" in second and "one" not in second and second.count("## Results") == 1


def test_the_card_of_a_person_goes_before_ours(tmp_path):
    written = new_card(AGENT, DESCRIBED, "me/actor")
    own, theirs = "# Mine\n", "# Theirs\n"
    assert chosen_card(tmp_path, "", written) == (written, "written")
    assert chosen_card(tmp_path, theirs, written) == (theirs, "of the repository")
    assert chosen_card(tmp_path, new_card(AGENT, DESCRIBED, "me/older"), written) == (written, "written")
    (tmp_path / "README.md").write_text(own)
    assert chosen_card(tmp_path, theirs, written) == (own, "of the folder")
    assert chosen_card(tmp_path, theirs, written, replace=True) == (written, "written")
    card, whose = chosen_card(tmp_path, "", written, section=results_section("12.5"))
    assert card.startswith(own) and "12.5" in card and whose == "of the folder"
    (tmp_path / "README.md").write_text(new_card(AGENT, DESCRIBED, "me/elsewhere"))
    assert chosen_card(tmp_path, "", written) == (written, "written")


def test_a_licence_cannot_get_into_a_card_that_is_kept(tmp_path):
    (tmp_path / "README.md").write_text("# Mine\n")
    with pytest.raises(InputError, match=r"license is 'mit', but the README.md of the folder is kept .*--replace-card"):
        chosen_card(tmp_path, "", "written", license="mit")
    (tmp_path / "README.md").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"README.md is not UTF-8"):
        chosen_card(tmp_path, "", "written")
