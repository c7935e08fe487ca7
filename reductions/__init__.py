"""How small single faults of our path become: a column of the kill matrix (`make reductions`)."""
