"""The command line's input and output."""
