"""The rules, one module per family; `invariants.catalogue` lists them."""
