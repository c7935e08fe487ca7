"""Single operators of our path made wrong, one place at a time: is each found where it is?"""
