"""What runs each command, a module each; imported once the command was chosen.

A module has ``run(args)``; ``run(args, params)`` where its :mod:`flows.grammar` makes parameters.
"""
