"""A `.nir` file, from any writer, to a `nir.NIRGraph`.

`graphs.read` is the entry point. A file passes through, in this order: `sources` fetches the bytes
(`file_kinds` recognises other kinds of files), `heaps`, `packing`, `filters` and `szip` do what
libhdf5 cannot do safely with a stranger's file, `hdf5` lists groups and reads datasets,
`attributes` reads their numbers, `node_builder` makes a node of its fields, `graphs` makes the
graph. `outline` lists a file's content as text, for `repair`'s list of changes.

Always: no code is run and no link followed; no more memory is taken than `limits` allow. Only
this room imports h5py. Cost: linear in the size of the file.
"""
