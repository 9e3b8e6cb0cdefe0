from interlat.cli.main import execute
from interlat.experiments.household.commands.make_alfworld import MakeAlfworld


def test_made_games_are_won_by_the_expert(tmp_path, capsys):
    config = MakeAlfworld(str(tmp_path), 6, "unseen", mini=True, verify=True)
    assert execute(config) == 0
    assert "won 6 of 6" in capsys.readouterr().err
