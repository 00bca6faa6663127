"""A registered model, in process and served."""
