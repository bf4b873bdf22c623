"""Studies: cells that are made once, tables of rows and questions made from the cells alone."""
