"""Two runs of one graph, compared node by node: specs, recordings, and what differs.

In: specs of two sides, two modules, or two recordings. Out: a `Comparison`, an object with
numbers. What could not be compared is in it as such, and never counts as agreement.
"""
