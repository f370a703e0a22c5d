"""The networks that come with amc-hw, models from elsewhere, and their checkpoints."""
