"""A `.nir` file to a `nir.NIRGraph`, whoever wrote the file.

`graphs.read` is the door. What stands behind it, in the order in which a file passes: `sources`
fetches the bytes (`file_kinds` tells what they are), `heaps`, `packing`, `filters` and `szip` do
what libhdf5 cannot be trusted with in a stranger's file, `hdf5` lists groups and reads datasets,
`attributes` reads their numbers, `node_builder` makes one node of its fields, `graphs` makes the
graph. `outline` lists a file's content as text, for `repair`'s list of changes.

Always: no code is run and no link followed; no more memory is taken than `limits` allow. Only
this room imports h5py. Cost: linear in the size of the file.
"""
