"""Other engines' tensors as our columns."""
