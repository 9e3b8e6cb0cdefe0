"""ScienceWorld: experiments of elementary science in a house, simulated by the package `scienceworld` in Java."""
