"""The command line: one module a group of commands, and how results are shown. What a command does stands in operations/."""
