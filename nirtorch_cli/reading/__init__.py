"""A `.nir` file to a `nir.NIRGraph`, whoever wrote the file.

`read` is the door. What stands behind it, in the order in which a file passes: `sources`
fetches the bytes, `heaps`, `packing`, `unpacking` and `szip` do what libhdf5 cannot be
trusted with in a stranger's file, `hdf5` lists groups and reads datasets, `attributes` reads
their numbers (no other package imports h5py), `node_fields` is the table of what a node may
hold, `node_building` makes one node of its fields, `graphs` makes the graph.
"""

from nirtorch_cli.reading.graphs import ModelFile, read

__all__ = ["ModelFile", "read"]
