"""What a step costs before it is run: its work, counted, at the rates of a machine, measured."""
