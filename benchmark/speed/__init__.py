"""How fast the suite is: the game, the methods, the fit and whole runs, beside the bare library and a naive way."""
