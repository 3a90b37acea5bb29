"""Node maps for `nirtorch convert --map NAME`, one a file, each named by an entry point."""
