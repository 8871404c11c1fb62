"""Rules for operators that come from elsewhere, and what stands in for packages that are missing.

`expressions` are what a rule says of a call's arguments; `rules` are what a file or a package
gives; `known` are those that hold in this process; `standing` (torch) puts functions into the
network's imports that the recorder sees as one operator each.
"""
