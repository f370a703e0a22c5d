"""Tasks: what "good" means for a network. How it is scored, trained and tested, and the inputs that it learns from."""
