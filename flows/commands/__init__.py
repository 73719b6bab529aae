"""The implementation of each command, one module each, imported once the command is chosen.

A module has ``run(args)``, or ``run(args, params)`` if its :mod:`flows.grammar` makes parameters.
"""
