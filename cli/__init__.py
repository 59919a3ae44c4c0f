"""The command line: one module for each group of commands, and how results are shown; the work is in operations/."""
