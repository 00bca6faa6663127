"""Pictures of results: figures that are returned and never shown, and the report page."""
