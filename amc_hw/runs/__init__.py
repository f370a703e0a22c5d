"""What a run is: its settings, its folder and the files in it."""
