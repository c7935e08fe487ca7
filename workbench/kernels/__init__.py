"""Operators as paths under test: cases, a truth, a judge, gates and a cost for each operator of the border.

An implementation on trial is a *candidate*. It must build, then be right, then be measured; each gate opens
the next. Importing this package imports no torch.
"""
