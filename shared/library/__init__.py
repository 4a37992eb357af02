"""What can be searched on this machine, on either side: collections of knowledge, and a device's memory.

One SQLite file is the truth; the vector index beside it (Chroma) holds nothing that cannot be made again from it. With
`shared.inference` the part of `shared` that does I/O: both sides must find the same, so both run this.
"""
