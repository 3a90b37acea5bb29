"""Pictures: `graphs` of a model's graph, `runs` of what its neurons did.

In: an `Inspection`, or recorded arrays. Out: text or the bytes of a picture. Nothing here runs a
module or prints.
"""
