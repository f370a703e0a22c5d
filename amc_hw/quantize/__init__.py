"""The precision that ships: simulated while a network is scored and trained, so that both see its rounding."""
