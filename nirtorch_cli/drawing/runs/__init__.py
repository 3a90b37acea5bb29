"""A run for people to see: a raster of characters, or a picture.

In: recorded arrays with time first, (T, B, *shape), and the length of a step. Out: plain
values, text, or a picture's bytes. Nothing here runs a module or prints.
"""
