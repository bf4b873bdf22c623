"""What commands need to know of models and machines: sizes, tracked motion, what is wrong here."""
