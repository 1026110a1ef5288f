"""The parsers that formats share: archives, the pickle machine, msgpack, the HDF5 child."""
