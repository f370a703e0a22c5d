"""From a model and an example input to its layers, its channel groups and their costs."""
