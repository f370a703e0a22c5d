"""The search for channel counts: environment, rewards, strategies and the study that runs them."""
