"""Tables for reports and notebooks, in plain pandas."""
