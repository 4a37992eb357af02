"""Numbered SQL, forward only. File `0001_name.sql` brings an empty store to version 1, and so on."""
