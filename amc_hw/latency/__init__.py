"""What a policy costs: latency tables, predictions from them, and the bounds that keep a budget."""
