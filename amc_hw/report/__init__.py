"""Drawing a run folder: the before/after table and the self-contained HTML pages."""
