"""Images and labels: where they come from, how they are split, and batches of them."""
