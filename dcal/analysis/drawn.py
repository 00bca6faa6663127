"""Which sources drew their pictures: a score on those says nothing about photographs (ours)."""

DRAWN_SOURCES = ("birds", "vehicles")  # dataset.source_type
