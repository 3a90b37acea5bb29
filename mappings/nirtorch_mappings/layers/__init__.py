"""Packs of frameworks' own layers, a file for each framework.

    nirtorch convert model.nir --map sinabs:layers

A pack's `LAYERS(dt, ...)` is a map from NIR node types to adapters around modules of the framework,
which is imported with the pack. Its numbers are the framework's own, to the last spike; what a node
says that the framework's module cannot do is refused by name.
"""
