"""The commands of the household experiment; `interlat.cli.main` names them."""
