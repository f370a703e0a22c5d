"""What may be spent: budgets, costs of policies, and the bounds that keep a search within them."""
