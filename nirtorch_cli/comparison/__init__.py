"""Compares two runs of one graph node by node.

In: specs of two sides, two modules, or two recordings. Out: a `Comparison`, an object with numbers.
It lists what could not be compared, which never counts as agreement.
"""
