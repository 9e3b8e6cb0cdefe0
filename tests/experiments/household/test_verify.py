from interlat.experiments.household.verify import verify_games


def test_every_game_gets_a_verdict_in_order(small_games):
    games = small_games["unseen"][:3]
    verdicts = list(verify_games(games, workers=1))
    assert [verdict.game for verdict in verdicts] == games
    assert all(verdict.won and verdict.steps == verdict.optimal_steps for verdict in verdicts)
    assert verdicts[0].task_type == games[0].parts[-3].split("-")[0]
