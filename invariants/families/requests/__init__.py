"""Rules across the requests of a batch, launch by launch."""
