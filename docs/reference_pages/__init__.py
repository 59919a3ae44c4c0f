"""One module a group of reference pages: each function makes the text of one page from the code."""
