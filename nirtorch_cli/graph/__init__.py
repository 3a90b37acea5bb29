"""A `NIRGraph` made sound, with shapes, an order of execution and a dt.

In: a graph as it was read. Out: the same graph repaired, what was found on the way, the shape at
every edge, the schedule of one step.

Always: no torch; linear in nodes and edges; the result depends on the content of the graph, never
on the order in which a file lists it.
"""
