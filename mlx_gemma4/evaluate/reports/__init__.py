"""What the rows of a question show, a file each: tables, plots, and the words around them."""
