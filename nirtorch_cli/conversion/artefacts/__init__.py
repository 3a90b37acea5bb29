"""What a converted model can be written as, one file a format; `formats` chooses by suffix.

In: a module or a repaired file, and a path. Out: a complete file, or none (`atomic`).
"""
