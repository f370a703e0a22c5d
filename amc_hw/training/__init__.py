"""Training and fine-tuning: the loop, its recipe, several processes, GPUs."""
